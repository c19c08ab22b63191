//go:build ignore

package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/quartet-mq/quartet/kafka"
)

func main() {
	b, _ := os.ReadFile(os.Args[1])
	from, _ := strconv.Atoi(os.Args[2])
	to, _ := strconv.Atoi(os.Args[3])
	for len(b) > 0 {
		e, rest, err := kafka.Split(b)
		if err != nil || e == nil {
			fmt.Println(err)
			return
		}
		b = rest
		x := kafka.Batch(e)
		if x.LastOffset() >= int64(from) && x.BaseOffset() <= int64(to) {
			var nums []uint32
			recs, _ := kafka.Open(e, nil, 1<<20)
			var r kafka.Record
			for recs.Next(&r) {
				if len(r.Value) >= 4 {
					nums = append(nums, uint32(r.Value[0])<<24|uint32(r.Value[1])<<16|uint32(r.Value[2])<<8|uint32(r.Value[3]))
				}
			}
			fmt.Println(x.BaseOffset(), "leader", x.LeaderEpoch(), "pid", x.ProducerID(), x.ProducerEpoch(), "seq", x.BaseSequence(), "n", x.Count(), nums)
		}
	}
}
