package kafkabroker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The directories in [Options].Dir.
const (
	metaDir = "meta"
	logsDir = "logs"
)

var errBrokerClosed = errors.New("kafkabroker: the broker is closed")

// Broker is a Kafka broker: a backend for [kafkaserver.Server], to be used in process too. Make one with [Open]. It is safe
// for concurrent use.
type Broker struct {
	opt      Options
	fs       vfs.Tree
	log      *slog.Logger
	started  time.Time
	handlers *handlerTable
	nodes    []*node // never empty, never changed
	meta     *metadata
	logs     *logDir
	cluster  string // id
	restarts int32  // openings after a sudden end; leader epochs count from it
	configs  brokerConfigs
	acls     acls
	users    users
	fetches  fetchSessions
	groups   *groupCoordinator
	stats    brokerStats
	txns     *txnCoordinator
	stopping chan struct{} // closed by Close
	diskFull atomic.Bool   // as Options.DiskReserve says
	fetching atomic.Int64  // bytes of records that are on their way to clients

	// changing is held by who makes, changes or deletes topics or configs: also while that is written.
	changing sync.Mutex

	mu       sync.RWMutex
	topics   map[string]*topicState
	byID     map[kafkawire.UUID]*topicState
	plain    map[string]string // names as metrics have them to those of topics
	count    int               // of partitions
	sessions map[*session]struct{}
	further  int // of sessions, streams that are not connections
	closed   bool

	closing    sync.Once
	spawning   sync.Mutex // taken last
	stopped    bool       // under spawning
	background sync.WaitGroup
}

// Open returns a broker. Nil options are the zero value: a broker in memory that refuses everybody. Close it when it is not
// used any more. With [Options].Dir it has recovered all logs when it returns. The errors are those of the file system,
// [vfs.ErrLocked] for a directory that another process has, and errors for a directory of another cluster or node and for
// options that make no sense.
func Open(opts *Options) (*Broker, error) {
	b := &Broker{
		opt: opts.withDefaults(), started: time.Now(), handlers: newHandlerTable(),
		topics: make(map[string]*topicState), byID: make(map[kafkawire.UUID]*topicState), plain: make(map[string]string),
		sessions: make(map[*session]struct{}), stopping: make(chan struct{}),
	}
	b.log = b.opt.Logger
	b.fs = b.opt.fs
	switch {
	case b.fs != nil:
	case b.opt.Dir == "":
		b.fs = vfs.NewMem()
	default:
		b.fs = vfs.OS{}
	}
	if err := b.open(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// open reads what is there.
func (b *Broker) open() error {
	if err := b.openMeta(); err != nil {
		return err
	}
	if err := b.identify(); err != nil {
		return err
	}
	if err := b.loadConfigs(); err != nil {
		return err
	}
	if err := b.loadACLs(); err != nil {
		return err
	}
	if err := b.loadUsers(); err != nil {
		return err
	}
	if err := b.loadTopics(); err != nil {
		return err
	}
	b.groups = newGroupCoordinator(b)
	if err := b.groups.noteDoomed(); err != nil {
		return err
	}
	if err := b.openLogs(); err != nil {
		return err
	}
	if err := b.groups.load(); err != nil {
		return err
	}
	if err := b.openTransactions(); err != nil {
		return err
	}
	for _, n := range b.nodes {
		n.setAPIs()
	}
	b.logs.start()
	b.watchDisk()
	b.resumeTransactions()
	return nil
}

// identify finds out who the broker is.
func (b *Broker) identify() error {
	dir := dirMeta{nodeID: -1}
	name := filepath.Join(b.logPath(), metaFile)
	if content, err := readFile(b.fs, name, 1<<20); err == nil {
		if dir, err = decodeDirMeta(name, content); err != nil {
			return err
		}
	}
	b.cluster = b.opt.ClusterID
	if id, ok := b.meta.get(metaCluster, "id"); ok {
		if b.cluster != "" && b.cluster != string(id) {
			return logError(kafkawire.ErrInconsistentClusterID, "%s belongs to cluster %q", b.opt.Dir, id)
		}
		b.cluster = string(id)
	}
	if b.cluster == "" {
		b.cluster = dir.clusterID
	}
	if b.cluster == "" {
		b.cluster = newUUID().String()
	}
	if b.opt.NodeID == 0 && len(b.opt.Nodes) == 0 {
		if b.opt.NodeID = dir.nodeID; dir.nodeID < 0 {
			b.opt.NodeID = defaultNodeID
		}
	}
	list := b.opt.Nodes
	if len(list) == 0 {
		list = []Node{{ID: b.opt.NodeID}}
	}
	for _, at := range list {
		if at.ID < 0 || b.node(at.ID) != nil {
			return errors.New("kafkabroker: the ids of nodes must be different and not negative")
		}
		b.nodes = append(b.nodes, &node{b: b, at: at})
	}
	if v, ok := b.meta.get(metaCluster, "restarts"); ok {
		b.restarts = decodeInt32(v)
	}
	if _, ok := b.meta.get(metaCluster, "id"); ok {
		return nil
	}
	return b.setMeta(metaChange{metaCluster, "id", []byte(b.cluster)})
}

// logPath is the directory of the logs.
func (b *Broker) logPath() string { return filepath.Join(b.opt.Dir, logsDir) }

// openLogs opens the logs and makes those that are missing.
func (b *Broker) openLogs() error {
	o := b.opt.logs
	o.fs, o.log, o.clusterID, o.nodeID = b.fs, b.log, b.cluster, b.opt.NodeID
	o.config = b.logConfigOf
	o.advanced = func(l *partitionLog) { l.advance() }
	o.failed = func(err error) {
		if f := b.opt.Events.Failed; f != nil {
			f(err)
		}
	}
	if b.opt.Dir == "" {
		o.syncAllFrom = -1
	}
	fresh := len(b.topics) == 0
	var err error
	if b.logs, err = openLogDir(b.logPath(), &o); err != nil {
		return err
	}
	if !b.logs.wasClean && !fresh {
		b.restarts++
		if err := b.setMeta(metaChange{metaCluster, "restarts", encodeInt32(b.restarts)}); err != nil {
			return err
		}
	}
	return b.attachLogs()
}

// node returns the node of an id, or nil.
func (b *Broker) node(id int32) *node {
	for _, n := range b.nodes {
		if n.at.ID == id {
			return n
		}
	}
	return nil
}

// Node returns the backend for the server of a node, nil if there is no such node.
func (b *Broker) Node(id int32) kafkaserver.Backend {
	if n := b.node(id); n != nil {
		return n
	}
	return nil
}

// APIs implements [kafkaserver.Backend] for the first node.
func (b *Broker) APIs() *kafkaserver.APIs { return b.nodes[0].APIs() }

// Authenticate implements [kafkaserver.Backend] for the first node.
func (b *Broker) Authenticate(ctx context.Context, c *kafkaserver.Conn, a *kafkaserver.Auth) (kafkaserver.Login, error) {
	return b.nodes[0].Authenticate(ctx, c, a)
}

// Connect implements [kafkaserver.Backend] for the first node.
func (b *Broker) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	return b.nodes[0].Connect(c)
}

// ClusterID returns the id of the cluster.
func (b *Broker) ClusterID() string { return b.cluster }

// Close makes everything durable and ends the broker. It does not wait for clients: close the server first, so that they are
// not answered with errors. The error is that of the file system; what was acknowledged as [Options].Sync promises is
// durable even so. Further calls wait for the first one and return nil.
func (b *Broker) Close() (err error) {
	b.closing.Do(func() { err = b.close() })
	return err
}

func (b *Broker) close() error {
	b.mu.Lock()
	b.closed = true
	sessions := slices.Collect(maps.Keys(b.sessions))
	b.mu.Unlock()
	for _, s := range sessions {
		s.cancelWaits()
	}
	b.spawning.Lock()
	b.stopped = true
	b.spawning.Unlock()
	close(b.stopping)
	if b.txns != nil {
		b.txns.close()
	}
	if b.groups != nil {
		b.groups.close()
	}
	b.background.Wait()
	b.changing.Lock()
	defer b.changing.Unlock()
	var err error
	if b.logs != nil {
		err = b.logs.close()
	}
	if b.meta != nil {
		err = errors.Join(err, b.meta.close())
	}
	return err
}

// spawn runs f in a goroutine for which Close waits. It reports false when the broker is closed.
func (b *Broker) spawn(f func()) bool {
	b.spawning.Lock()
	defer b.spawning.Unlock()
	if b.stopped {
		return false
	}
	b.background.Go(f)
	return true
}

// isStopped reports whether the broker is being closed.
func (b *Broker) isStopped() bool {
	b.spawning.Lock()
	defer b.spawning.Unlock()
	return b.stopped
}
