package amqpbroker

// entry is a message in a queue. While it is ready the queue has it by value; otherwise it is in a [held].
type entry struct {
	m       *message
	pos     uint64 // its place in the queue, to which it returns
	expires int64  // unix milliseconds, 0 for never
	count   uint32 // how often it was given back
	level   uint8  // its priority in this queue
	flags   entryFlags
}

// entryFlags say what has happened to an entry.
type entryFlags uint8

const (
	entryRedelivered entryFlags = 1 << iota // somebody had it
)

func (e *entry) redelivered() bool { return e.flags&entryRedelivered != 0 }

func (e *entry) expired(now int64) bool { return e.expires != 0 && e.expires <= now }

// held is an entry that is not ready. A consumer's deliveries are known by it. Once it is free again the queue uses it for
// another entry.
type held struct {
	entry
	q     *queue
	c     *consumer // who has it; nil for basic.get and for states without an owner
	got   *channel  // that has it by basic.get
	at    int64     // unix milliseconds: acquired since, or scheduled for
	index int       // in queue.held
	state entryState
	why   deathReason // of a dead one
	from  *origin     // of a dead one that is recorded
}

// entryState is what an entry is in.
type entryState uint8

const (
	stateFree      entryState = iota // of a held without an entry
	stateAcquired                    // somebody has it, until he settles it
	stateDeferred                    // set aside until somebody asks for it by its position
	stateScheduled                   // becomes ready at a point in time
	stateDead                        // on its way to the dead letter exchange
)

// deathReason is why a message is dead-lettered.
type deathReason uint8

const (
	deathRejected deathReason = iota
	deathExpired
	deathMaxlen
	deathDeliveryLimit
)

// String returns the reason as in the x-death header.
func (d deathReason) String() string {
	switch d {
	case deathExpired:
		return "expired"
	case deathMaxlen:
		return "maxlen"
	case deathDeliveryLimit:
		return "delivery_limit"
	}
	return "rejected"
}
