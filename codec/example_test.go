package codec_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quartet-mq/quartet/codec"
)

func ExampleReader() {
	r := codec.NewReader([]byte{0, 5, 'h', 'e', 'l', 'l', 'o', 0x01, 0x02})
	s := r.Bytes16()
	n := r.Uint16()
	fmt.Printf("%s %d %v\n", s, n, r.Err())

	// The first failure sticks; one check at the end is enough.
	r.Uint32()
	r.Bytes16()
	fmt.Println(errors.Is(r.Err(), codec.ErrShort), r.Err())
	// Output:
	// hello 258 <nil>
	// true input is too short at offset 9
}

func ExampleReader_Count() {
	// An array of 100 million 4-byte integers, says the peer, in 8 bytes.
	r := codec.NewReader([]byte{0x05, 0xf5, 0xe1, 0x00, 0, 0, 0, 1})
	list := make([]uint32, r.Count(int(r.Uint32()), 4))
	fmt.Println(len(list), r.Err())
	// Output: 0 limit exceeded at offset 4
}

func ExamplePeekUvarint28() {
	for _, b := range [][]byte{{0x80}, {0x80, 0x01, 0xff}, {0x80, 0x00}} {
		v, n, err := codec.PeekUvarint28(b)
		fmt.Println(v, n, err)
	}
	// Output:
	// 0 0 <nil>
	// 128 2 <nil>
	// 0 0 illegal encoding
}

func ExampleBuffer() {
	// Frames are one length byte and that many bytes.
	src := strings.NewReader("\x03one\x03two\x05th")
	b := codec.Buffer{Max: 256}
	for {
		for b.Len() > 0 && b.Len() > int(b.Bytes()[0]) {
			n := 1 + int(b.Bytes()[0])
			fmt.Printf("%s\n", b.Bytes()[1:n])
			b.Discard(n)
		}
		if _, err := b.Fill(src); err != nil {
			break
		}
	}
	fmt.Println(b.Len(), "bytes of the next frame")
	// Output:
	// one
	// two
	// 3 bytes of the next frame
}

func ExampleAppendUvarint28() {
	fmt.Printf("% x\n", codec.AppendUvarint28(nil, 321))
	fmt.Println(codec.SizeUvarint28(321))
	// Output:
	// c1 02
	// 2
}

func ExampleUpdateCRC32C() {
	crc := codec.CRC32C([]byte("12345"))
	fmt.Printf("%08x\n", codec.UpdateCRC32C(crc, []byte("6789")))
	// Output: e3069283
}
