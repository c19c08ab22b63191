package journal_test

import (
	"fmt"

	"github.com/quartet-mq/quartet/internal/journal"
	"github.com/quartet-mq/quartet/internal/vfs"
)

func Example() {
	o := &journal.Options{FS: vfs.NewMem(), Kind: "example"}
	j, err := journal.Open[string]("dir", o)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := j.Replay(func(uint64, []byte) error { return nil }); err != nil {
		fmt.Println(err)
		return
	}
	durable := make(chan string)
	err = j.Start(journal.Handler[string]{
		Complete: func(tokens []string, o journal.Outcome) {
			for _, t := range tokens {
				durable <- fmt.Sprintln(t, o)
			}
		},
		Checkpoint: func(uint64) {},
		Keep:       func(uint64, []byte) journal.Verdict { return journal.Keep },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	body := []byte("a message")
	lsn := j.AppendAwait(nil, body, len(body), "publisher 7:")
	fmt.Print(<-durable)
	record, err := j.NewReader().Read(lsn)
	fmt.Printf("%d %s %v\n", lsn, record, err)
	fmt.Println(j.Close())
	// Output:
	// publisher 7: done
	// 1 a message <nil>
	// <nil>
}
