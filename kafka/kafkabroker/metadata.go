package kafkabroker

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/journal"
)

// metaKind is a kind of entities in the metadata journal. The numbers are on disk.
type metaKind uint8

const (
	metaCluster     metaKind = iota + 1 // "id": the id of the cluster
	metaTopic                           // name of a topic: what it is
	metaConfig                          // type and name of a resource: its configs that were set
	metaDoomed                          // id of a topic that is deleted, until its logs are gone: its name
	metaACL                             // an access control entry
	metaScramUser                       // user and mechanism: salted password
	metaProducerIDs                     // "next": the first producer id that was not given out
	metaQuota                           // reserved
	metaFeature                         // name of a feature: its level
)

// metaKey names an entity.
type metaKey struct {
	kind metaKind
	key  string
}

// metaChange sets an entity. A nil value deletes it, an empty one does not.
type metaChange struct {
	kind  metaKind
	key   string
	value []byte
}

// metaEntity is an entity as it is, or that it is gone while a record with other changes says so.
type metaEntity struct {
	value []byte
	lsn   uint64
	size  int // of the change in the record
	grave bool
	multi bool // the record has other changes, too
}

// metadata is the durable state of the broker outside of the logs: small entities, each with a value. Its journal is the
// changes. It is safe for concurrent use.
type metadata struct {
	j *journal.Journal[metaToken] // nil keeps nothing

	mu       sync.Mutex
	entities map[metaKey]metaEntity
}

// metaToken waits for a record.
type metaToken struct{ done chan error }

var errMetaFailed = errors.New("kafkabroker: the metadata journal has failed")

// openMetadata opens the journal in a directory, or makes one.
func openMetadata(dir string, o *journal.Options) (*metadata, error) {
	if err := o.FS.MkdirAll(dir); err != nil {
		return nil, err
	}
	m := &metadata{entities: make(map[metaKey]metaEntity)}
	var err error
	if m.j, err = journal.Open[metaToken](dir, o); err != nil {
		return nil, err
	}
	if err = m.j.Replay(m.replay); err == nil {
		for _, e := range m.entities {
			m.j.Restore(e.lsn, e.size)
		}
		err = m.j.Start(journal.Handler[metaToken]{Complete: complete, Checkpoint: m.checkpoint, Keep: m.keep})
	}
	if err != nil {
		return nil, errors.Join(err, m.j.Close())
	}
	return m, nil
}

func complete(tokens []metaToken, o journal.Outcome) {
	var err error
	if o != journal.Done {
		err = errMetaFailed
	}
	for _, t := range tokens {
		if t.done != nil {
			t.done <- err
		}
	}
}

// replay takes a record in.
func (m *metadata) replay(lsn uint64, record []byte) error {
	var list []metaChange
	if err := eachChange(record, func(c metaChange) { list = append(list, c) }); err != nil {
		return err
	}
	m.apply(lsn, list, slices.ContainsFunc(list, metaChange.sets))
	return nil
}

// sets reports whether the change is not a deletion.
func (c metaChange) sets() bool { return c.value != nil }

// apply makes changes that are in a record. live tells that the record counts as live for its deletions, too. It returns the
// bytes that it made dead elsewhere. The caller holds mu, if there is somebody else.
func (m *metadata) apply(lsn uint64, list []metaChange, live bool) (dead []metaEntity) {
	for _, c := range list {
		k := metaKey{c.kind, c.key}
		if old, ok := m.entities[k]; ok {
			dead = append(dead, old)
		}
		e := metaEntity{value: slices.Clone(c.value), lsn: lsn, size: c.size(), multi: len(list) > 1}
		switch {
		case c.value != nil:
			m.entities[k] = e
		case live:
			e.grave = true
			m.entities[k] = e
		default:
			delete(m.entities, k)
		}
	}
	return dead
}

// set makes changes, all or none, and returns when they are durable. An error leaves it open whether they are: after a
// restart they are there or not, and the broker makes no more changes.
func (m *metadata) set(changes ...metaChange) error {
	if len(changes) == 0 {
		return nil
	}
	if m.j == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.apply(0, changes, false)
		return nil
	}
	record := encodeChanges(changes)
	t := metaToken{make(chan error, 1)}
	live := slices.ContainsFunc(changes, metaChange.sets)
	m.mu.Lock()
	var lsn uint64
	if live {
		size := 0
		for _, c := range changes {
			size += c.size()
		}
		lsn = m.j.AppendAwait(record, nil, size, t)
	} else {
		lsn = m.j.AppendTombstoneAwait(record, nil, t)
	}
	var dead []metaEntity
	if lsn != 0 {
		dead = m.apply(lsn, changes, live)
	}
	m.mu.Unlock()
	for _, e := range dead {
		m.j.Release(e.lsn, e.size)
	}
	return <-t.done
}

// get returns the value of an entity. It must not be changed. ok is false when there is none.
func (m *metadata) get(kind metaKind, key string) (value []byte, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entities[metaKey{kind, key}]
	return e.value, ok && !e.grave
}

// each visits the entities of a kind in the order of their keys. The values must not be changed.
func (m *metadata) each(kind metaKind, visit func(key string, value []byte) error) error {
	m.mu.Lock()
	all := make(map[string][]byte)
	for k, e := range m.entities {
		if k.kind == kind && !e.grave {
			all[k.key] = e.value
		}
	}
	m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if err := visit(key, all[key]); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint gives changes that are in a record with others a record of their own. Records of several changes are not needed
// then, and none of them is kept when files are rewritten: one that was kept for one of its changes would undo the deletion of what
// it sets besides, as a tombstone goes when all that is older was rewritten.
func (m *metadata) checkpoint(below uint64) {
	m.mu.Lock()
	var moved []metaEntity
	for k, e := range m.entities {
		if !e.multi || e.lsn >= below {
			continue
		}
		c := metaChange{kind: k.kind, key: k.key, value: e.value}
		record := encodeChanges([]metaChange{c})
		if e.grave {
			if m.j.AppendTombstone(record, nil) == 0 {
				break // the journal is being closed: what there is stays
			}
			delete(m.entities, k)
		} else {
			lsn := m.j.Append(record, nil, c.size())
			if lsn == 0 {
				break
			}
			m.entities[k] = metaEntity{value: e.value, lsn: lsn, size: c.size()}
		}
		moved = append(moved, e)
	}
	m.mu.Unlock()
	for _, e := range moved {
		m.j.Release(e.lsn, e.size)
	}
}

// keep says whether a record is needed.
func (m *metadata) keep(lsn uint64, record []byte) journal.Verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, sets := journal.Drop, false
	_ = eachChange(record, func(c metaChange) { // it was read before
		sets = sets || c.sets()
		e, ok := m.entities[metaKey{c.kind, c.key}]
		switch {
		case ok && e.lsn == lsn:
			v = journal.Keep
		case !ok && c.value == nil && v == journal.Drop:
			v = journal.Tombstone
		}
	})
	if sets && v == journal.Tombstone {
		v = journal.Drop // checkpoint has made tombstones of its deletions
	}
	return v
}

// close ends the journal.
func (m *metadata) close() error {
	if m.j == nil {
		return nil
	}
	return m.j.Close()
}

// size is how many bytes of a record the change has.
func (c metaChange) size() int { return 4 + len(c.key) + len(c.value) }

// encodeChanges returns a record.
func encodeChanges(changes []metaChange) []byte {
	n := 0
	for _, c := range changes {
		n += c.size() + 8
	}
	b := make([]byte, 0, n)
	for _, c := range changes {
		b = append(b, byte(c.kind))
		b = codec.AppendUvarint64(b, uint64(len(c.key)))
		b = append(b, c.key...)
		if c.value == nil {
			b = append(b, 0)
			continue
		}
		b = codec.AppendUvarint64(b, uint64(len(c.value))+1)
		b = append(b, c.value...)
	}
	return b
}

// eachChange reads a record.
func eachChange(record []byte, visit func(metaChange)) error {
	for r := codec.NewReader(record); r.Len() > 0; {
		c := metaChange{kind: metaKind(r.Uint8())}
		c.key = string(r.Bytes(int(r.Uvarint32())))
		if n := int(r.Uvarint32()); n > 0 {
			c.value = append([]byte{}, r.Bytes(n-1)...)
		}
		if err := r.Err(); err != nil {
			return &corruptError{"the metadata journal", 0, err.Error()}
		}
		visit(c)
	}
	return nil
}

// setMeta changes entities of the metadata, all or none, and returns when that is durable. A nil value deletes.
func (b *Broker) setMeta(changes ...metaChange) error {
	if err := b.meta.set(changes...); err != nil {
		return &storageError{"changing the metadata", err}
	}
	return nil
}

// eachMeta visits the entities of a kind in the order of their keys. The values must not be changed.
func (b *Broker) eachMeta(kind metaKind, visit func(key string, value []byte) error) error {
	return b.meta.each(kind, visit)
}

// openMeta opens the metadata journal of a broker. One in memory has none.
func (b *Broker) openMeta() (err error) {
	if b.opt.Dir == "" {
		b.meta = &metadata{entities: make(map[metaKey]metaEntity)}
		return nil
	}
	b.meta, err = openMetadata(filepath.Join(b.opt.Dir, metaDir), &journal.Options{
		FS: b.fs, Kind: "kafka", SegmentSize: b.opt.metaSegment, Logger: b.log, MinFree: -1,
	})
	return err
}
