package amqp091

import (
	"github.com/quartet-mq/quartet/codec"
)

// decoder reads the arguments of a method.
type decoder struct {
	codec.Reader
}

func newDecoder(b []byte) decoder { return decoder{codec.NewReader(b)} }

func (d *decoder) code() Code          { return Code(d.Uint16()) }
func (d *decoder) methodID() MethodID  { return MethodID(d.Uint32()) }
func (d *decoder) shortString() string { return string(d.shortBytes()) }
func (d *decoder) longString() string  { return string(d.Bytes32()) }

// shortBytes returns the content of a short string as part of the input.
func (d *decoder) shortBytes() []byte {
	b := d.Bytes(int(d.Uint8()))
	if !validShort(b) {
		d.Fail(errUTF8)
	}
	return b
}

// longBytes returns a copy; nil when it is empty.
func (d *decoder) longBytes() []byte { return append([]byte(nil), d.Bytes32()...) }

func (d *decoder) table() Table {
	at := d.Offset()
	t, err := decodeTable(d.Bytes32(), 1)
	if err != nil {
		d.Fail(&codec.Error{Offset: at, Err: err})
	}
	return t
}

// end returns the error of the decoder, or of bytes that are left.
func (d *decoder) end(id MethodID) error {
	if d.Err() == nil && d.Len() > 0 {
		d.Fail(errTrailing)
	}
	if err := d.Err(); err != nil {
		return &Error{Code: FrameError, Text: "cannot decode the arguments of " + id.String(), Method: id, Hard: true, Err: err}
	}
	return nil
}

// noArguments is the decoder of a method without arguments.
func noArguments(b []byte, id MethodID) error {
	d := newDecoder(b)
	return d.end(id)
}
