package amqpbroker

import (
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// FuzzRecord replays records as they may come from a damaged disk, after those that make a queue and a delayed exchange: no
// panic, and no more memory than the records have.
func FuzzRecord(f *testing.F) {
	m := &message{exchange: "x", key: "k", props: amqp091.RawProperties{0, 0}, body: []byte("body"), at: 1, flags: messagePersistent}
	q := &queue{num: 1}
	f.Add(appendMessage(nil, m, []*queue{q}, nil, nil, 0, 0))
	f.Add(appendMessage(nil, m, []*queue{q}, nil, &origin{q: q, seq: 4}, 0, 1))
	f.Add(appendMessage(nil, m, nil, &delayed{num: 2}, nil, 99, 0))
	f.Add([]byte{byte(recordSpent), 1, 1, 8})
	f.Add([]byte{byte(recordReturned), 1, 4, 2})
	f.Add([]byte{byte(recordAside), 1, 4, 0})
	f.Add([]byte{byte(recordReach), 1, 100})
	f.Add([]byte{byte(recordCheckpoint), 1, 100, 0, 5, 0, 1, 8, 9, 2})
	f.Add([]byte{byte(recordCheckpoint), 1, 100, 0, 5, 1, 0, 4, 0})
	f.Add([]byte{byte(recordCommitted), 4, 1, 1, 1, 8})
	f.Add([]byte{byte(recordCommitted), 4, 0, 1, 1, 1, 8})
	f.Add(appendMessage(nil, m, nil, &delayed{num: 2}, nil, 99, 1))
	f.Add([]byte{byte(recordCheckpoint), 1, 100, 0, 5, 0, 1, 8, 33})
	f.Add([]byte{byte(recordAborted), 4})
	f.Add([]byte{byte(recordClean)})
	f.Add([]byte{byte(recordFired), 2, 1, 8})
	f.Add(append(appendNames(nil, recordDefined, defQueue, []string{"/", "r"}), 3, 0))
	f.Add(appendNames(nil, recordDefined, defBinding, []string{"/", "amq.topic", "queue", "q", "k", ""}))
	f.Add(append(appendNames(nil, recordDefined, defSetting, []string{"user", "", "u", ""}), `{"name":"u"}`...))
	f.Add(appendNames(nil, recordUndefined, defVhost, []string{"/"}))
	f.Add(appendNames(nil, recordUndefined, defExchange, []string{"/", "d"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := &Broker{vhosts: map[string]*vhost{}, recorded: map[settingKey]stored{}, reg: newRegistry(nil)}
		b.opts = (&Options{}).withDefaults()
		b.rec = newRecorder(nil, b.opts.Logger)
		r := &restoring{b: b, queues: map[uint64]*restored{}, delayed: map[uint64]*restoredDelayed{}, bindings: map[string]restoredBinding{}}
		kind, _ := amqp091.Table{{Key: "x-delayed-type", Value: "fanout"}}.Append(nil)
		for i, rec := range [][]byte{
			append(appendNames(nil, recordDefined, defVhost, []string{"/"}), `{"name":"/"}`...),
			append(appendNames(nil, recordDefined, defQueue, []string{"/", "q"}), 1, 0),
			append(append(appendText(appendNames(nil, recordDefined, defExchange, []string{"/", "d"}), delayedKind), 0, 2), kind...),
			appendMessage(nil, m, []*queue{q}, nil, nil, 0, 0),
		} {
			if err := r.replay(uint64(i+1), rec); err != nil {
				t.Fatal(err)
			}
		}
		if r.replay(5, raw) == nil {
			_ = r.replay(6, raw)
		}
		r.commit()
	})
}
