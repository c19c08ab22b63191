package kafka

import (
	"hash/crc32"
	"hash/fnv"
	"testing"
)

func TestMurmur2(t *testing.T) {
	// What the Java client's Utils.murmur2 returns.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107, "": 275646681,
	} {
		if got := int32(Murmur2([]byte(key))); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
		if got := JavaPartition([]byte(key), 12); got != (want&0x7fffffff)%12 {
			t.Errorf("%q: partition %d", key, got)
		}
	}
}

// TestLibrdkafkaHashes has what the unit tests of librdkafka expect of murmur2 and FNV-1a.
func TestLibrdkafkaHashes(t *testing.T) {
	for key, want := range map[string]struct {
		murmur2 uint32
		fnv1a   int32
	}{
		"kafka": {0xd067cf64, 0xd33c4e1}, "giberish123456789": {0x8f552b0c, 0x77a58295}, "1234": {0x9fc97b14, 0x23bdd03},
		"234": {0xe7c009ca, 0x2dea3cd2}, "34": {0x873930da, 0x740fa83e}, "4": {0x5a4b5ca1, 0x310ca263}, "": {0x106e08d9, 0x7ee3623b},
	} {
		if got := Murmur2([]byte(key)); got != want.murmur2 {
			t.Errorf("%q: murmur2 %#x, want %#x", key, got, want.murmur2)
		}
		if got := FNV1aPartition([]byte(key), 1<<31-1); got != want.fnv1a {
			t.Errorf("%q: FNV-1a %#x, want %#x", key, got, want.fnv1a)
		}
	}
}

func TestOtherPartitioners(t *testing.T) {
	for _, key := range []string{"", "a", "kafka", "giberish123456789", "1234", "PreAmbleWillBeRemoved,ThePrePartThatIs", "\xff\xfe"} {
		for _, n := range []int32{1, 3, 1000, 1<<31 - 1} {
			if got, want := ConsistentPartition([]byte(key), n), int32(crc32.ChecksumIEEE([]byte(key))%uint32(n)); got != want {
				t.Errorf("%q of %d: %d, want %d", key, n, got, want)
			}
			h := fnv.New32a()
			h.Write([]byte(key))
			sum := int32(h.Sum32())
			if sum < 0 {
				sum = -sum
			}
			if got := FNV1aPartition([]byte(key), n); got != sum%n {
				t.Errorf("%q of %d: %d, want %d", key, n, got, sum%n)
			}
		}
	}
	for _, f := range []func([]byte, int32) int32{JavaPartition, ConsistentPartition, FNV1aPartition} {
		if f([]byte("key"), 0) != 0 {
			t.Error("without partitions")
		}
	}
}

func TestSticky(t *testing.T) {
	var s Sticky
	if p := s.Partition([]int32{4, 6}, 8, 3); p != 6 {
		t.Errorf("random 3 of 2: %d", p)
	}
	s.Produced(10_000, true)
	if p := s.Partition([]int32{4, 6}, 8, 2); p != 6 {
		t.Errorf("leaves after 10,000 bytes: %d", p)
	}
	s.Produced(10_000, false)
	if p := s.Partition([]int32{4, 6}, 8, 2); p != 6 {
		t.Errorf("leaves within a batch: %d", p)
	}
	s.Produced(1, true)
	if p := s.Partition([]int32{4, 6}, 8, 2); p != 4 {
		t.Errorf("stays after a batch: %d", p)
	}
	s.Produced(40_000, false)
	if p := s.Partition(nil, 8, 0xffffffff); p != 0x7fffffff%8 {
		t.Errorf("without any available: %d", p)
	}
	if p := s.Partition(nil, 3, 1); p != 1 {
		t.Errorf("a partition that is no more: %d", p)
	}
}

func TestStickyLoad(t *testing.T) {
	var s Sticky
	s.SetLoad([]int32{5, 6, 7}, []int{0, 3, 1}, true) // weights 4, 1, 3
	count := make(map[int32]int)
	for random := range uint32(8) {
		s.chosen = false
		count[s.Partition([]int32{1}, 8, random)]++
	}
	if count[5] != 4 || count[6] != 1 || count[7] != 3 {
		t.Errorf("%v", count)
	}
	s.SetLoad([]int32{5, 6, 7}, []int{2, 2, 2}, true)
	s.chosen = false
	if p := s.Partition([]int32{1}, 8, 5); p != 1 {
		t.Errorf("equal load of all: %d", p)
	}
	s.SetLoad([]int32{5, 6}, []int{2, 2}, false)
	s.chosen = false
	if p := s.Partition([]int32{1}, 8, 5); p != 6 {
		t.Errorf("equal load of some: %d", p)
	}
	s.SetLoad(nil, nil, false)
	s.chosen = false
	if p := s.Partition([]int32{1}, 8, 5); p != 1 {
		t.Errorf("no load: %d", p)
	}
}
