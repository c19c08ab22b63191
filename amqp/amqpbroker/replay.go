package amqpbroker

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/codec"
)

// restoring is the state of a broker while it replays its journal.
type restoring struct {
	b        *Broker
	queues   map[uint64]*restored
	delayed  map[uint64]*restoredDelayed
	bindings map[string]restoredBinding
	pending  []pendingMessage // of the transaction that was replayed last, whose end has not come
	tx       uint64           // its first record
	clean    bool             // the last record says that the broker was closed
	reapply  bool             // policies have changed
	m        messageRecord
}

// restored is a queue that is being restored.
type restored struct {
	q       *queue
	levels  []cold
	kept    map[uint64]keptEntry // those of the last checkpoint that are not in levels any more
	gone    map[uint64]struct{}  // those in levels that are not there any more
	marks   map[uint64]mark      // what is known of entries in levels
	missing map[uint64]struct{}  // those of the last checkpoint that are nowhere
	lows    []uint64             // of the last checkpoint, for each level
	first   uint64               // its first record since the last checkpoint, 0 for none
	reach   uint64
}

// keptEntry is an entry that is not in its place any more.
type keptEntry struct {
	coldEntry
	level uint8
	mark
}

// mark is what happened to an entry.
type mark struct {
	flags checkFlags
	count uint32
	at    int64
}

// restoredDelayed is a delayed exchange that is being restored. The recorder has references to the messages that have not
// gone.
type restoredDelayed struct {
	d       *delayed
	entries delayedSpan // by number
	dead    int         // how many of them have gone
	least   int64       // none is due before
}

// add adds an entry.
func (d *restoredDelayed) add(e delayedEntry) {
	if d.entries.n == 0 || e.due < d.least {
		d.least = e.due
	}
	d.entries.push(e, 0)
	d.rec().refs.Add(e.pos, 1)
}

// fewDead is how many dead entries may be among the restored ones.
const fewDead = 4096

// remove takes an entry out.
func (d *restoredDelayed) remove(seq uint64) {
	refs := &d.rec().refs
	if refs.Get(seq) == 0 {
		return
	}
	refs.Remove(seq)
	if d.dead++; d.dead < fewDead || d.dead < d.entries.n/2 {
		return
	}
	var rest delayedSpan
	d.take(func(e delayedEntry) { rest.push(e, 0) })
	d.entries = rest
}

// take takes out what is left.
func (d *restoredDelayed) take(yield func(delayedEntry)) {
	d.dead = 0
	for d.entries.n > 0 {
		if e := d.entries.shift(0); d.rec().refs.Get(e.pos) > 0 {
			yield(e)
		}
	}
}

// drop forgets everything.
func (d *restoredDelayed) drop() {
	d.take(func(e delayedEntry) { d.rec().refs.Remove(e.pos) })
}

func (d *restoredDelayed) rec() *recorder { return d.d.x.v.b.rec }

// bindingKey returns the names of a binding as one, which no other binding has.
func bindingKey(names []string) string {
	return string(appendNames(nil, recordDefined, defBinding, names))
}

type restoredBinding struct {
	names  []string
	args   []byte
	record stored
}

// pendingMessage is a message of a transaction whose end has not come yet.
type pendingMessage struct {
	seq uint64
	raw []byte
}

var errTorn = errors.New("its records do not fit together")

// restore replays the journal.
func (b *Broker) restore() error {
	r := &restoring{
		b: b, queues: make(map[uint64]*restored), delayed: make(map[uint64]*restoredDelayed), bindings: make(map[string]restoredBinding),
	}
	if err := b.rec.j.Replay(r.replay); err != nil {
		return err
	}
	aborted := r.tx
	if len(r.pending) == 0 {
		aborted = 0
	}
	if err := r.keep(); err != nil {
		return err
	}
	if err := b.rec.begin(b, aborted); err != nil {
		return err
	}
	b.restoreAside()
	return nil
}

// replay replays a record.
func (r *restoring) replay(seq uint64, raw []byte) error {
	r.b.rec.last = max(r.b.rec.last, seq)
	err := errRecord
	if len(raw) > 0 {
		err = r.apply(seq, recordKind(raw[0]), raw)
	}
	if err != nil {
		return fmt.Errorf("amqpbroker: record %d: %w", seq, err)
	}
	return nil
}

func (r *restoring) apply(seq uint64, kind recordKind, raw []byte) error {
	r.clean = false
	if kind == recordMessage {
		return r.message(seq, raw)
	}
	rd := codec.NewReader(raw[1:])
	switch kind {
	case recordAborted:
		if first := rd.Uvarint64(); first == r.tx {
			r.pending, r.tx = nil, 0
		}
		return rd.Err()
	case recordCommitted:
		rd.Uvarint64()
		r.commit()
		for range rd.Count(int(rd.Uvarint32()), 2) {
			num := rd.Uvarint64()
			readSeqs(&rd, func(gone uint64) { r.spent(num, gone, seq) })
		}
		if rd.Len() == 0 {
			return rd.Err()
		}
		for range rd.Count(int(rd.Uvarint32()), 2) {
			t := r.queues[rd.Uvarint64()]
			readSeqs(&rd, func(dead uint64) {
				if t != nil {
					t.touch(seq)
					t.mark(dead, func(m *mark) { m.flags |= checkDead | checkRedelivered })
				}
			})
		}
		return rd.Err()
	}
	r.commit()
	switch kind {
	case recordSpent:
		num := rd.Uvarint64()
		readSeqs(&rd, func(gone uint64) { r.spent(num, gone, seq) })
	case recordFired:
		d := r.delayed[rd.Uvarint64()]
		readSeqs(&rd, func(gone uint64) {
			if d != nil {
				d.remove(gone)
			}
		})
	case recordReturned:
		num, of, count := rd.Uvarint64(), rd.Uvarint64(), rd.Uvarint32()
		if t := r.queues[num]; t != nil && rd.Err() == nil {
			t.touch(seq)
			t.mark(of, func(m *mark) { m.flags |= checkRedelivered; m.count = count })
		}
	case recordAside:
		num, of, at := rd.Uvarint64(), rd.Uvarint64(), int64(rd.Uvarint64())
		if t := r.queues[num]; t != nil && rd.Err() == nil {
			t.touch(seq)
			t.mark(of, func(m *mark) {
				if m.at = at; at != 0 {
					m.flags |= checkScheduled
				} else {
					m.flags |= checkDeferred | checkRedelivered
				}
			})
		}
	case recordReach:
		num, to := rd.Uvarint64(), rd.Uvarint64()
		if t := r.queues[num]; t != nil && rd.Err() == nil {
			t.touch(seq)
			t.reach = max(t.reach, to)
		}
	case recordCheckpoint:
		if t := r.queues[rd.Uvarint64()]; t != nil && rd.Err() == nil {
			t.q.journal.check = stored{seq, len(raw)}
			t.first = 0
			return t.checkpoint(&rd)
		}
	case recordClean:
		r.clean = true
		for _, t := range r.queues {
			t.reach = 0
		}
	case recordDefined, recordUndefined:
		what := definition(rd.Uint8())
		names := make([]string, rd.Uint8())
		for i := range names {
			names[i] = readText(&rd)
		}
		if err := rd.Err(); err != nil || len(names) != what.names() {
			return cmp.Or(err, errRecord)
		}
		if kind == recordDefined {
			return r.defined(what, names, rd.Rest(), stored{seq, len(raw)})
		}
		return r.undefined(what, names)
	default:
		return errRecord
	}
	return rd.Err()
}

// message replays a message. One of a transaction waits for the end of that.
func (r *restoring) message(seq uint64, raw []byte) error {
	if err := r.m.parse(raw[1:]); err != nil {
		return err
	}
	if r.m.tx == 0 {
		r.commit()
		return r.arrived(seq, &r.m)
	}
	first := r.m.tx - 1
	if first == 0 {
		first = seq
	}
	if first != r.tx {
		r.commit()
		r.tx = first
	}
	r.pending = append(r.pending, pendingMessage{seq, slices.Clone(raw)})
	return nil
}

// commit replays the messages of a transaction: another record came after them, so all of them are there.
func (r *restoring) commit() {
	if r.tx == 0 {
		return
	}
	list := r.pending
	r.pending, r.tx = nil, 0
	var m messageRecord
	for _, p := range list {
		if m.parse(p.raw[1:]) == nil { // it was parsed before
			_ = r.arrived(p.seq, &m)
		}
	}
}

// arrived replays a message.
func (r *restoring) arrived(seq uint64, m *messageRecord) error {
	if m.from != 0 {
		r.spent(m.from, m.fromSeq, seq)
		if d := r.delayed[m.from]; d != nil {
			d.remove(m.fromSeq)
		}
	}
	rd := codec.NewReader(m.queues)
	if m.due != 0 {
		if d := r.delayed[rd.Uvarint64()]; d != nil && m.flags&messagePersistent != 0 {
			d.add(delayedEntry{due: min(max(m.due, 0), maxDue), pos: seq, size: max(m.size(), 1)})
		}
		return rd.Err()
	}
	if r.reapply {
		r.reapply = false
		for _, t := range r.queues {
			t.q.configure(r.b.settingsOf(t.q))
		}
	}
	view := message{props: amqp091.RawProperties(m.props), at: m.at}
	view.readProperties()
	for range m.n {
		t := r.queues[rd.Uvarint64()]
		if t == nil {
			continue
		}
		q := t.q
		q.pos++
		t.levels[min(view.priority, q.maxPriority)].pushCold(&coldEntry{
			seq: seq, pos: q.pos, size: m.size(), length: int64(len(m.body)), expires: q.expiry(&view),
		})
	}
	return rd.Err()
}

// touch notes that the queue has a record of its own.
func (t *restored) touch(seq uint64) {
	if t.first == 0 {
		t.first = seq
	}
}

// spent replays that an entry has gone, with record seq.
func (r *restoring) spent(num, gone, seq uint64) {
	t := r.queues[num]
	if t == nil {
		return
	}
	t.touch(seq)
	if _, ok := t.kept[gone]; ok {
		delete(t.kept, gone)
		return
	}
	delete(t.missing, gone)
	waiting := false
	for i := range t.levels {
		c := &t.levels[i]
		first, ok := c.first()
		if !ok || gone < first.seq {
			continue
		}
		if gone > first.seq {
			waiting = true
			continue
		}
		for ok && (first.seq == gone || t.isGone(first.seq)) {
			t.forget(first.seq)
			c.shift()
			first, ok = c.first()
		}
		return
	}
	if waiting {
		if t.gone == nil {
			t.gone = make(map[uint64]struct{})
		}
		t.gone[gone] = struct{}{}
	}
}

func (t *restored) isGone(seq uint64) bool {
	_, ok := t.gone[seq]
	return ok
}

func (t *restored) forget(seq uint64) {
	delete(t.gone, seq)
	delete(t.marks, seq)
}

// mark changes what is known of an entry.
func (t *restored) mark(seq uint64, f func(*mark)) {
	if k, ok := t.kept[seq]; ok {
		f(&k.mark)
		t.kept[seq] = k
		return
	}
	if t.marks == nil {
		t.marks = make(map[uint64]mark)
	}
	m := t.marks[seq]
	f(&m)
	t.marks[seq] = m
}

// checkpoint replays what the queue has: nothing of what is below a number for each level, but for what is listed.
func (t *restored) checkpoint(rd *codec.Reader) error {
	t.reach, t.q.journal.marked = rd.Uvarint64(), rd.Uvarint64()
	general := rd.Uvarint64()
	lows := make(map[uint8]uint64)
	for range rd.Count(int(rd.Uvarint32()), 2) {
		lv := rd.Uint8()
		lows[lv] = rd.Uvarint64()
	}
	listed := make(map[uint64]mark)
	prev := uint64(0)
	for range rd.Count(int(rd.Uvarint32()), 2) {
		prev += uint64(rd.Varint64())
		m := mark{flags: checkFlags(rd.Uint8())}
		if m.flags&checkCount != 0 {
			m.count = rd.Uvarint32()
		}
		if m.flags&checkTime != 0 {
			m.at = int64(rd.Uvarint64())
		}
		listed[prev] = m
	}
	if err := rd.Err(); err != nil {
		return err
	}
	kept := make(map[uint64]keptEntry, len(listed))
	take := func(e keptEntry) {
		if m, ok := listed[e.seq]; ok {
			e.mark = m
			kept[e.seq] = e
		}
	}
	for _, e := range t.kept {
		take(e)
	}
	for i := range t.levels {
		low, ok := lows[uint8(i)]
		if !ok {
			low = general
		}
		t.lows[i] = low
		c := &t.levels[i]
		for c.n > 0 {
			first, _ := c.first()
			if first.seq >= low {
				break
			}
			t.forget(first.seq)
			take(keptEntry{coldEntry: c.shift(), level: uint8(i)})
		}
	}
	t.kept = kept
	t.missing = nil
	for seq := range listed { // the messages of some were thrown away: a record that they have gone must follow
		if _, ok := kept[seq]; !ok {
			if t.missing == nil {
				t.missing = make(map[uint64]struct{})
			}
			t.missing[seq] = struct{}{}
		}
	}
	return nil
}

// defined replays that there is something.
func (r *restoring) defined(what definition, names []string, data []byte, at stored) error {
	b := r.b
	rd := codec.NewReader(data)
	switch what {
	case defVhost:
		v := r.vhost(names[0])
		v.record, v.definition = at, VhostDefinition{}
		return json.Unmarshal(data, &v.definition)
	case defExchange:
		v := r.vhost(names[0])
		spec := exchangeSpec{name: names[1], kind: readText(&rd), durable: true}
		flags, num := rd.Uint8(), rd.Uvarint64()
		spec.autoDelete, spec.internal = flags&storedAutoDelete != 0, flags&storedInternal != 0
		var err error
		if spec.args, err = amqp091.RawTable(rd.Rest()).Decode(); err != nil || rd.Err() != nil {
			return errors.Join(err, rd.Err())
		}
		x, err := v.newExchange(&spec)
		if err != nil {
			return err
		}
		x.record = at
		if x.delayed != nil {
			x.delayed.num = num
			r.number(num)
			r.dropDelayed(num)
			r.delayed[num] = &restoredDelayed{d: x.delayed}
		}
		v.exchanges[x.name] = x
	case defQueue:
		v := r.vhost(names[0])
		num, flags := rd.Uvarint64(), rd.Uint8()
		spec := queueSpec{name: names[1], durable: true, autoDelete: flags&storedAutoDelete != 0}
		var err error
		if spec.args, err = amqp091.RawTable(rd.Rest()).Decode(); err != nil || rd.Err() != nil {
			return errors.Join(err, rd.Err())
		}
		q, err := v.newQueue(&spec)
		if err != nil {
			return err
		}
		q.num, q.record = num, at
		r.number(num)
		q.configure(b.settingsOf(q))
		v.queues[q.name] = q
		r.queues[num] = &restored{q: q, levels: make([]cold, len(q.levels)), lows: make([]uint64, len(q.levels))}
	case defBinding:
		r.bindings[bindingKey(names)] = restoredBinding{names, slices.Clone(data), at}
	case defSetting:
		s := setting{Kind: settingKind(names[0]), Vhost: names[1], Name: names[2], Sub: names[3], Value: slices.Clone(data)}
		b.recorded[settingKey{s.Kind, s.Vhost, s.Name, s.Sub}] = at
		r.reapply = r.reapply || s.Kind == settingPolicy || s.Kind == settingOperatorPolicy
		return b.reg.apply(s)
	default:
		return errRecord
	}
	return nil
}

// vhost returns a virtual host. That it is there may be recorded later, when its definition has changed, or not at all any more,
// when it is gone in the end: see dropVhosts.
func (r *restoring) vhost(name string) *vhost {
	v := r.b.vhosts[name]
	if v == nil {
		v = newVhost(r.b, name)
		r.b.vhosts[name] = v
	}
	return v
}

// dropVhost forgets a virtual host with what is in it.
func (r *restoring) dropVhost(v *vhost) {
	delete(r.b.vhosts, v.name)
	for _, q := range v.queues {
		delete(r.queues, q.num)
	}
	for _, x := range v.exchanges {
		if x.delayed != nil {
			r.dropDelayed(x.delayed.num)
		}
	}
}

// dropDelayed forgets a delayed exchange with what is in it.
func (r *restoring) dropDelayed(num uint64) {
	if d := r.delayed[num]; d != nil {
		d.drop()
		delete(r.delayed, num)
	}
}

// dropVhosts forgets the virtual hosts that nobody has defined.
func (r *restoring) dropVhosts() {
	for _, v := range r.b.vhosts {
		if v.record.seq == 0 {
			r.dropVhost(v)
		}
	}
}

// number notes a number that is used.
func (r *restoring) number(num uint64) { r.b.nums.Store(max(r.b.nums.Load(), num)) }

// undefined replays that something is gone.
func (r *restoring) undefined(what definition, names []string) error {
	b := r.b
	switch what {
	case defVhost:
		if v := b.vhosts[names[0]]; v != nil {
			r.dropVhost(v)
		}
	case defExchange:
		if v := b.vhosts[names[0]]; v != nil {
			if x := v.exchanges[names[1]]; x != nil && x.delayed != nil {
				r.dropDelayed(x.delayed.num)
			}
			delete(v.exchanges, names[1])
		}
	case defQueue:
		if v := b.vhosts[names[0]]; v != nil {
			if q := v.queues[names[1]]; q != nil {
				delete(r.queues, q.num)
				delete(v.queues, names[1])
			}
		}
	case defBinding:
		delete(r.bindings, bindingKey(names))
	case defSetting:
		s := setting{Kind: settingKind(names[0]), Vhost: names[1], Name: names[2], Sub: names[3]}
		delete(b.recorded, settingKey{s.Kind, s.Vhost, s.Name, s.Sub})
		r.reapply = r.reapply || s.Kind == settingPolicy || s.Kind == settingOperatorPolicy
		return b.reg.apply(s)
	default:
		return errRecord
	}
	return nil
}
