package kafka

import (
	"cmp"
	"slices"
	"unicode/utf16"
)

// Some choices of the Java client's assignors depend on the order in which its HashMap iterates. That order is a function
// of the keys, and following it gives the same results.

// javaOrder returns the places of keys in the order in which a HashMap iterates over them.
func javaOrder(keys []string) []int {
	size := javaTable(16, len(keys))
	buckets := make([]uint32, len(keys))
	order := make([]int, len(keys))
	for i, k := range keys {
		buckets[i], order[i] = javaBucket(javaStringHash(k), size), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(buckets[a], buckets[b]) })
	return order
}

// javaTable returns the size that a table has grown to when it has n entries.
func javaTable(size, n int) int {
	for n > size/4*3 {
		size *= 2
	}
	return size
}

// javaBucket is the place of a hash in a table.
func javaBucket(hash uint32, size int) uint32 { return (hash ^ hash>>16) & uint32(size-1) }

// javaStringHash is hashCode of a String.
func javaStringHash(s string) (h uint32) {
	for _, r := range s {
		if r < 1<<16 {
			h = 31*h + uint32(r)
			continue
		}
		high, low := utf16.EncodeRune(r)
		h = 31*(31*h+uint32(high)) + uint32(low)
	}
	return h
}

// javaPartitionHash is hashCode of a TopicPartition.
func javaPartitionHash(p TopicPartition) uint32 {
	return 31*(31+uint32(p.Partition)) + javaStringHash(string(p.Topic))
}
