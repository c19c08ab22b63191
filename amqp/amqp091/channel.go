package amqp091

import "time"

// Channel is the state machine of one channel of a [Conn]. It belongs to its Conn and is used as that is.
type Channel struct {
	// Ref is the shell's own.
	Ref any

	c       *Conn
	err     *Error
	content assembly

	// Server.
	consumers  map[string]*Consumer
	unsettled  unsettled
	tx         []settledTag // settled in the transaction
	committed  []settledTag // settled in the one that is being committed
	confirms   confirms
	limit      int // of unsettled deliveries to consumers; 0: none
	used       int // unsettled deliveries to consumers
	prefetch   int // of consumers that are started
	starved    bool
	isTx       bool
	committing bool

	// Client.
	calls     []call
	published *published // not nil: the server confirms

	id    uint16
	state channelState
}

// channelState is where a channel is in its life.
type channelState uint8

const (
	channelOpening channelState = iota // server: the shell answers; client: open is sent
	channelOpen
	channelAnswer  // server: the peer sent close, the shell answers
	channelClosing // close is sent
	channelClosed
)

func (c *Conn) newChannel(id uint16) *Channel {
	ch := &Channel{c: c, id: id}
	if c.channels == nil {
		c.channels = make(map[uint16]*Channel, 1)
	}
	c.channels[id] = ch
	return ch
}

// ID returns the number of the channel.
func (ch *Channel) ID() uint16 { return ch.id }

// Conn returns the connection.
func (ch *Channel) Conn() *Conn { return ch.c }

// Open reports whether the channel is open: methods and messages may be sent.
func (ch *Channel) Open() bool { return ch.state == channelOpen }

// Err returns why the channel was closed: an *[Error], or nil before that and after a close with code 200 or 0. It stays
// nil when the connection ended.
func (ch *Channel) Err() error {
	if ch.err == nil || ch.err.Code == ReplySuccess || ch.err.Code == 0 {
		return nil
	}
	return ch.err
}

// OpenOK (server) answers EventChannelOpen.
func (ch *Channel) OpenOK(now time.Time) error {
	if ch.state != channelOpening || ch.c.cfg.Role != Server {
		return ErrState
	}
	ch.state = channelOpen
	ch.c.send(now, ch.id, &ChannelOpenOK{})
	return nil
}

// OpenChannel (client) opens a channel with a number that is free. EventReply with ref and a *ChannelOpenOK is the answer.
// The error is ErrState, or NOT_ALLOWED when all numbers are in use.
func (c *Conn) OpenChannel(now time.Time, ref any) (*Channel, error) {
	if c.cfg.Role != Client || c.phase != phaseOpen {
		return nil, ErrState
	}
	if len(c.channels) >= int(c.channelMax) {
		return nil, SoftError(NotAllowed, "all %d channels are in use", c.channelMax)
	}
	for c.channels[c.free] != nil {
		c.free++
	}
	ch := c.newChannel(c.free)
	ch.calls = append(ch.calls, call{ref: ref, reply: IDChannelOpenOK})
	c.send(now, ch.id, &ChannelOpen{})
	return ch, nil
}

// Close closes the channel with channel.close, or the connection if e is Hard. A nil error is a normal end.
// EventChannelClosed follows at once. When the channel is not open it does nothing.
func (ch *Channel) Close(now time.Time, e *Error) {
	if e == nil {
		e = &Error{Code: ReplySuccess}
	}
	if e.Hard {
		ch.c.Close(now, e)
		return
	}
	if ch.state > channelOpen || ch.c.phase != phaseOpen {
		return
	}
	ch.sendConfirms(now)
	ch.err = &Error{Code: e.Code, Text: e.Text, Method: e.Method, Err: e.Err}
	ch.c.send(now, ch.id, &ChannelClose{ReplyCode: e.Code, ReplyText: ch.err.ReplyText(), Method: e.Method})
	ch.stop(channelClosing)
	ch.c.tell(EventChannelClosed, ch)
}

// CloseOK (server) answers the peer's channel.close, after EventChannelClose.
func (ch *Channel) CloseOK(now time.Time) error {
	if ch.state != channelAnswer || ch.c.phase != phaseOpen {
		return ErrState
	}
	ch.c.send(now, ch.id, &ChannelCloseOK{})
	ch.remove()
	return nil
}

// stop ends what an open channel does.
func (ch *Channel) stop(s channelState) {
	ch.state = s
	if ch.c.hot == ch {
		ch.c.hot = nil
	}
	ch.c.collected -= ch.content.counted
	ch.content = assembly{}
}

// remove makes the number free.
func (ch *Channel) remove() {
	c := ch.c
	ch.stop(channelClosed)
	delete(c.channels, ch.id)
	if c.last == ch {
		c.last = nil
	}
	c.free = min(c.free, ch.id)
}

// Send sends a method. Server: an answer to one that came as EventMethod, or *BasicCancel. Client: a method that has no
// answer, see Call for the others.
func (ch *Channel) Send(now time.Time, m Method) error {
	if ch.state != channelOpen {
		return ErrState
	}
	if m.ID() == IDTxCommitOK {
		ch.committing = false
		clear(ch.committed)
		ch.committed = ch.committed[:0]
	}
	ch.c.send(now, ch.id, m)
	return nil
}

// receive takes a frame.
func (ch *Channel) receive(now time.Time, f Frame) error {
	if ch.content.stage != stageMethod {
		return ch.receiveContent(now, f)
	}
	if f.Type != FrameMethod {
		return &Error{Code: UnexpectedFrame, Hard: true, Text: "expected method frame, got non method frame instead"}
	}
	id, _ := PeekMethod(f.Payload)
	if ch.c.cfg.Role == Server {
		return ch.serverMethod(now, id, f.Payload)
	}
	return ch.clientMethod(now, id, f.Payload)
}

// receiveClose takes the peer's channel.close.
func (ch *Channel) receiveClose(now time.Time, m *ChannelClose) {
	ch.err = RemoteError(m.ReplyCode, m.ReplyText, m.Method, false)
	if ch.c.cfg.Role == Server {
		ch.sendConfirms(now)
		ch.stop(channelAnswer)
	} else {
		ch.c.send(now, ch.id, &ChannelCloseOK{})
		ch.remove()
	}
	ch.c.tell(EventChannelClose, ch)
}

// trim gives back what an idle channel does not need.
func (ch *Channel) trim() {
	ch.unsettled.trim()
	ch.confirms.trim()
	if len(ch.tx) == 0 {
		ch.tx = nil
	}
	if len(ch.committed) == 0 {
		ch.committed = nil
	}
}
