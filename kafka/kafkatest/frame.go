package kafkatest

import (
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// maxFrame bounds what a Peer takes.
const maxFrame = 100 << 20

var errSize = errors.New("kafkatest: illegal size of a request or response")

// frameSize finds the end of a frame.
func frameSize(b []byte) (int, error) {
	if len(b) < 4 {
		return 0, nil
	}
	n := int32(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
	if n < 0 || n > maxFrame {
		return 0, errSize
	}
	return 4 + int(n), nil
}

// decodeRequest decodes a frame with a request.
func decodeRequest(frame []byte) (h kafkawire.RequestHeader, m kafkawire.Request, err error) {
	body, err := h.Decode(frame[4:])
	if err != nil {
		return h, nil, err
	}
	if !h.Key.Supports(h.Version) {
		if h.Key == kafkawire.KeyAPIVersions { // a broker answers what it does not know
			return h, new(kafkawire.APIVersionsRequest), nil
		}
		return h, nil, fmt.Errorf("%v has no version %d", h.Key, h.Version)
	}
	m = kafkawire.NewRequest(h.Key)
	return h, m, m.Decode(body, h.Version)
}

// decodeResponse decodes a frame with the response to a request.
func decodeResponse(frame []byte, h kafkawire.RequestHeader) (m kafkawire.Response, id int32, err error) {
	version := h.Version
	if !h.Key.Supports(version) {
		version = 0 // APIVersions
	}
	id, body, err := kafkawire.DecodeResponseHeader(frame[4:], h.Key, version)
	if err != nil {
		return nil, id, err
	}
	m = kafkawire.NewResponse(h.Key)
	return m, id, m.Decode(body, version)
}
