package kafkabroker

import (
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// logDirOptions are how a directory of logs is opened. The zero value is all defaults.
type logDirOptions struct {
	fs        vfs.Tree // nil is that of the operating system
	log       *slog.Logger
	clusterID string // "" takes that of the directory
	nodeID    int32
	newUUID   func() kafkawire.UUID

	// config returns the configuration of a topic. nil is Kafka's defaults for all.
	config func(topic string) *logConfig
	// maxOpen bounds the files that are open and not in use. The default is 1,000.
	maxOpen int
	// expireProducers is how long producer ids are remembered without records, in milliseconds. The default is a day.
	expireProducers int64
	// cleanerBytes bounds the memory in which compaction remembers keys. The default is 32 MiB: 1.2 million keys at once.
	cleanerBytes int64
	// syncAllFrom is from how many files on the whole file system is synced instead of each file. The default is 4, negative
	// is never.
	syncAllFrom int
	// advanced is called when the high watermark or the last stable offset of a log may have moved, with no lock held.
	advanced func(*partitionLog)
	// failed is called once, when the directory cannot be used any more.
	failed func(error)

	// How often things are done in the background. The defaults are Kafka's.
	retentionEvery  time.Duration // log.retention.check.interval.ms, 5 minutes
	cleanEvery      time.Duration // log.cleaner.backoff.ms, 15 seconds
	checkpointEvery time.Duration // log.flush.offset.checkpoint.interval.ms, a minute
}

// newUUID returns a random UUID.
func newUUID() (id kafkawire.UUID) {
	for {
		rand.Read(id[:])
		// Kafka takes none that begins with a dash, which tools take for a flag.
		if id.String()[0] != '-' {
			return id
		}
	}
}

func (o *logDirOptions) withDefaults() logDirOptions {
	var v logDirOptions
	if o != nil {
		v = *o
	}
	if v.fs == nil {
		v.fs = vfs.OS{}
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.newUUID == nil {
		v.newUUID = newUUID
	}
	if v.config == nil {
		c := defaultLogConfig()
		v.config = func(string) *logConfig { return c }
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	if v.maxOpen <= 0 {
		v.maxOpen = 1000
	}
	if v.expireProducers <= 0 {
		v.expireProducers = dayMs
	}
	if v.cleanerBytes <= 0 {
		v.cleanerBytes = 32 << 20
	}
	if v.syncAllFrom == 0 {
		v.syncAllFrom = 4
	}
	set(&v.retentionEvery, 5*time.Minute)
	set(&v.cleanEvery, 15*time.Second)
	set(&v.checkpointEvery, time.Minute)
	return v
}

// logDir is a directory of logs, in the format of Apache Kafka. It is safe for concurrent use. Close it.
type logDir struct {
	path     string
	fs       vfs.Tree
	opt      logDirOptions
	log      *slog.Logger
	meta     dirMeta
	lock     io.Closer
	handles  handlePool
	sync     *syncer
	flusher  *flusher
	decoders *decoders
	failed   atomic.Pointer[storageError]
	advanced func(*partitionLog)
	wasClean bool // it was closed in order

	mu      sync.Mutex
	logs    map[partitionID]*partitionLog
	pending map[partitionID]bool // being made or removed
	closed  bool

	checkpoints sync.Mutex // held while one is written
	cleanedTo   map[partitionID]int64
	stale       map[partitionID]bool // logs that are not there, of which the checkpoints on disk may speak
	cleaner     *offsetMap           // of who holds cleaning
	cleaning    sync.Mutex

	quit chan struct{} // closed by close
	done sync.WaitGroup
}

// openLogDir opens a directory, or makes one, and recovers its logs if it was not closed in order. A second process, also
// where the first is Apache Kafka, is refused with vfs.ErrLocked.
func openLogDir(path string, o *logDirOptions) (*logDir, error) {
	d := &logDir{path: path, opt: o.withDefaults(), logs: make(map[partitionID]*partitionLog), pending: make(map[partitionID]bool), stale: make(map[partitionID]bool)}
	d.fs, d.log = d.opt.fs, d.opt.log
	d.handles.fs, d.handles.max = d.fs, d.opt.maxOpen
	d.sync, d.flusher, d.decoders = newSyncer(d), newFlusher(), newDecoders()
	d.quit = make(chan struct{})
	if d.advanced = d.opt.advanced; d.advanced == nil {
		d.advanced = func(*partitionLog) {}
	}
	if err := d.fs.MkdirAll(path); err != nil {
		return nil, err
	}
	var err error
	if d.lock, err = d.fs.LockRange(filepath.Join(path, lockFile)); err != nil {
		return nil, err
	}
	if err = d.load(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// load reads what is in the directory.
func (d *logDir) load() error {
	if err := d.loadMeta(dirMeta{clusterID: d.opt.clusterID, nodeID: d.opt.nodeID}, d.opt.newUUID); err != nil {
		return err
	}
	clean, err := d.takeCleanMark()
	if err != nil {
		return err
	}
	d.wasClean = clean
	recovery, starts := d.loadOffsets(recoveryPointFile), d.loadOffsets(logStartFile)
	d.cleanedTo = d.loadOffsets(cleanerFile)
	names, err := d.fs.Dirs(d.path)
	if err != nil {
		return err
	}
	var ids []partitionID
	for _, name := range names {
		id, ok := parsePartition(name)
		switch {
		case strings.HasSuffix(name, deleteDirSuffix):
			if err := d.removeTree(filepath.Join(d.path, name)); err != nil {
				return err
			}
		case !ok || id.topic == metadataTopic || strings.HasSuffix(name, strayDirSuffix) || strings.HasSuffix(name, futureDirSuffix):
			d.log.Info("kafkabroker: a directory is left alone", "dir", name)
		default:
			ids = append(ids, id)
		}
	}
	for _, offsets := range [...]map[partitionID]int64{recovery, starts, d.cleanedTo} {
		for id := range offsets {
			d.stale[id] = true
		}
	}
	for _, id := range ids {
		delete(d.stale, id)
	}
	maps.DeleteFunc(d.cleanedTo, func(id partitionID, _ int64) bool { return d.stale[id] })
	now := time.Now().UnixMilli()
	return d.inParallel(len(ids), func(i int) error {
		id := ids[i]
		o := opening{clean: clean, recovery: recovery[id], start: starts[id], cleaned: -1, now: now}
		if at, ok := d.cleanedTo[id]; ok {
			o.cleaned = at
		}
		l, err := d.openLog(id, d.opt.config(id.topic), o)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.logs[id] = l
		return nil
	})
}

// inParallel calls f for 0 to n-1 on some goroutines. It returns each error once.
func (d *logDir) inParallel(n int, f func(int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, 2*runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1) - 1); i < n; i = int(next.Add(1) - 1) {
				errs[i] = f(i)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		if err == nil || seen[err.Error()] {
			return true
		}
		seen[err.Error()] = true
		return false
	})...)
}

// takeCleanMark reports whether the directory was closed in order, and removes the mark of it.
func (d *logDir) takeCleanMark() (bool, error) {
	name := filepath.Join(d.path, cleanShutdownFile)
	if _, err := d.fs.Size(name); err != nil {
		return false, nil
	}
	if err := d.fs.Remove(name); err != nil {
		return false, err
	}
	return true, d.fs.SyncDir(d.path)
}

// get returns a log, or nil.
func (d *logDir) get(id partitionID) *partitionLog {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logs[id]
}

// all returns the logs.
func (d *logDir) all() []*partitionLog {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*partitionLog, 0, len(d.logs))
	for _, l := range d.logs {
		list = append(list, l)
	}
	return list
}

// close makes all logs durable and closes them. After that the directory can be opened again without a look at the records.
func (d *logDir) close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.quit)
	d.mu.Unlock()
	logs := d.all()
	for _, l := range logs {
		l.stop.Store(true)
	}
	d.done.Wait()
	d.sync.stop()
	d.flusher.wait()
	err := d.inParallel(len(logs), func(i int) error { return logs[i].close() })
	d.flusher.wait() // for what was rolled meanwhile
	if err == nil {
		err = d.failure()
	}
	if err == nil {
		err = d.saveCheckpoints()
	}
	if err == nil {
		err = writeFile(d.fs, filepath.Join(d.path, cleanShutdownFile), []byte(`{"version":0,"brokerEpoch":-1}`))
	}
	return errors.Join(err, d.lock.Close())
}
