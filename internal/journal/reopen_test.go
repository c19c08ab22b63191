package journal

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// TestOpenAfterCrashInCreation: a directory whose making was cut off opens at once.
func TestOpenAfterCrashInCreation(t *testing.T) {
	for seed := range uint64(50) {
		fs := vfs.NewMem()
		n := 0
		var disks []*vfs.Mem
		fs.SetFail(func(vfs.Op, string) error {
			n++
			disks = append(disks, fs.CrashClone(seed*100+uint64(n)))
			return nil
		})
		j := mustOpen(t, "d", &Options{FS: fs, Kind: "model", MinFree: -1})
		if err := j.Start(newCollector().handler()); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		for i, disk := range disks {
			j, err := Open[int]("d", &Options{FS: disk, Kind: "model", MinFree: -1})
			if err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, i, err)
			}
			if err := j.Start(newCollector().handler()); err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, i, err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPressureFallsByItself: who stopped appending because the disk was full is told that there is room.
func TestPressureFallsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		j := mustOpen(t, "d", &Options{FS: fs, Kind: "model", SegmentSize: 64 << 10, MinFree: 1 << 20})
		fs.SetCapacity(1200 << 10)
		if err := j.Start(newCollector().handler()); err != nil {
			t.Fatal(err)
		}
		for j.Pressure() != Full {
			j.Append(make([]byte, 1000), nil, 1000)
			time.Sleep(10 * time.Millisecond)
		}
		fs.SetCapacity(1 << 30)
		time.Sleep(5 * time.Second)
		if p := j.Pressure(); p != None {
			t.Errorf("the pressure is %v", p)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
