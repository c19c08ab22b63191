package kafkabroker

import "unicode/utf8"

// coordinatorIndex returns the partition, of n, of an internal topic that has what belongs to a group or a transactional id.
// It is Kafka's choice: the hash code that Java gives the name.
func coordinatorIndex(name string, n int) int32 {
	h := int32(0)
	for _, r := range name {
		if r >= utf8.RuneSelf && r > 0xffff { // Java has two units for it
			r -= 0x10000
			h = 31*h + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + r
	}
	switch {
	case n <= 0, h == -1<<31:
		return 0
	case h < 0:
		h = -h
	}
	return h % int32(n)
}
