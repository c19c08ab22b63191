package compress_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/codec/compress"
)

func Example() {
	text := strings.Repeat("a message, ", 1000)
	b, err := compress.Append(nil, []byte(text), compress.Zstd, 0)
	if err != nil {
		panic(err)
	}
	got, err := compress.Decode(nil, b, compress.Zstd, 1<<20)
	fmt.Println(len(b) < 100, string(got) == text, err)

	// Nobody gets more than what is allowed.
	_, err = compress.Decode(nil, b, compress.Zstd, 5000)
	fmt.Println(errors.Is(err, codec.ErrLimit))
	// Output:
	// true true <nil>
	// true
}
