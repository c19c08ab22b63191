package kafkabroker

import (
	"errors"
	"time"
)

// diskEvery is how often the free room is looked at.
const diskEvery = 2 * time.Second

var errDiskFull = &storageError{"append", errors.New("the disk is nearly full")}

// watchDisk refuses records while the disk has less room than Options.DiskReserve.
func (b *Broker) watchDisk() {
	if b.opt.Dir == "" || b.opt.DiskReserve < 0 {
		return
	}
	look := func() {
		free, _, err := b.fs.Free(b.logPath())
		full := err == nil && free < b.opt.DiskReserve
		if b.diskFull.Swap(full) != full {
			b.log.Warn("kafkabroker: free room on the disk", "dir", b.logPath(), "free", free, "reserve", b.opt.DiskReserve, "full", full)
			if f := b.opt.Events.DiskFull; f != nil {
				f(full)
			}
		}
	}
	look()
	b.spawn(func() {
		t := time.NewTicker(diskEvery)
		defer t.Stop()
		for {
			select {
			case <-b.stopping:
				return
			case <-t.C:
				look()
			}
		}
	})
}
