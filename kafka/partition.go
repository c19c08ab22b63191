package kafka

import (
	"encoding/binary"
	"hash/crc32"
)

// JavaPartition returns the partition of a key among n as the Java client chooses it, and librdkafka with murmur2 or
// murmur2_random.
func JavaPartition(key []byte, n int32) int32 {
	return int32(Murmur2(key)&0x7fffffff) % max(n, 1)
}

// ConsistentPartition returns the partition of a key among n as librdkafka chooses it by default, with consistent or
// consistent_random.
func ConsistentPartition(key []byte, n int32) int32 {
	return int32(crc32.ChecksumIEEE(key) % uint32(max(n, 1)))
}

// FNV1aPartition returns the partition of a key among n as librdkafka chooses it with fnv1a or fnv1a_random, and sarama by
// default.
func FNV1aPartition(key []byte, n int32) int32 {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for _, c := range key {
		h = (h ^ uint32(c)) * prime
	}
	if int32(h) < 0 {
		h = -h
	}
	return int32(h % uint32(max(n, 1)))
}

// Murmur2 is the hash of the Java client: MurmurHash2 of 32 bits with its seed.
func Murmur2(b []byte) uint32 {
	const seed, m, r = 0x9747b28c, 0x5bd1e995, 24
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k = (k ^ k>>r) * m
		h = h*m ^ k
	}
	if len(b) > 0 {
		for i, c := range b {
			h ^= uint32(c) << (8 * i)
		}
		h *= m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
