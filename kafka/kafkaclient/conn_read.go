package kafkaclient

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// readBuffer is the size of the buffer of a connection; larger responses are read into memory of their own.
const readBuffer = 16 << 10

// read reads responses until the connection ends.
func (k *conn) read() {
	err := k.readFrames(bufio.NewReaderSize(k.nc, readBuffer))
	k.fail(err)
	k.finish()
}

func (k *conn) readFrames(r *bufio.Reader) error {
	for {
		head, err := r.Peek(4)
		if err != nil {
			return err
		}
		size := int(int32(binary.BigEndian.Uint32(head)))
		if size < 4 || size > k.c.o.MaxResponseBytes {
			return protocolError(fmt.Sprintf("a response of %d bytes", size))
		}
		var b []byte
		owned := 4+size > r.Size()
		if owned {
			b, err = readLarge(r, size)
		} else if b, err = r.Peek(4 + size); err == nil {
			b = b[4:]
		}
		if err != nil {
			return err
		}
		k.c.receivedBytes.Add(uint64(4 + size))
		if err := k.received(b, owned); err != nil {
			return err
		}
		if !owned {
			r.Discard(4 + size)
		}
	}
}

// received completes the oldest request.
func (k *conn) received(b []byte, owned bool) error {
	f, ok := k.pop()
	if !ok {
		return protocolError("a response to nothing")
	}
	correlation, body, err := kafkawire.DecodeResponseHeader(b, f.key, f.version)
	switch {
	case err != nil:
		err = protocolError(err.Error())
	case correlation != f.correlation:
		err = protocolError("a response out of turn")
	}
	if err != nil {
		k.done(&f, nil, &ConnError{Broker: k.info.Broker, Addr: k.info.Addr, Err: err})
		return err
	}
	if d := throttleOf(f.key, f.version, body); d > 0 {
		k.throttled(d)
	}
	k.done(&f, &frame{body: body, version: f.version, owned: owned, size: len(b)}, nil)
	return nil
}

// readLarge reads a response of size bytes, which is larger than the buffer. Memory grows with what comes: a broker that
// claims much and sends little costs no more than the buffer.
func readLarge(r *bufio.Reader, size int) ([]byte, error) {
	const step = 16<<20 + 64<<10 // that of a fetch with the default limits fits
	if _, err := r.Peek(r.Size()); err != nil {
		return nil, err
	}
	r.Discard(4)
	b := make([]byte, min(size, step))
	n := 0
	for {
		m, err := io.ReadFull(r, b[n:])
		n += m
		if err != nil || n == size {
			return b, err
		}
		b = append(b, make([]byte, min(size-n, len(b)))...)
	}
}
