package amqp091

// Early says whether a method may travel in early data (0-RTT), which somebody who recorded it can send to a server a
// second time. A profile for that is what RFC 9001, section 5.6, demands of a protocol over QUIC. Greater values are
// less dangerous; the zero value is EarlyNever.
type Early uint8

// The classes of [EarlyData]. A client sends what its class does not allow when the handshake is complete; a server does
// not look at it before.
const (
	// EarlyNever: only after the handshake. It ends or takes away something, is part of a transaction, speaks of something
	// that only this connection knows, or carries credentials, which early data protects without forward secrecy:
	// connection.start-ok, secure-ok and update-secret, all closes, deletes, unbinds and purges, all acknowledgements,
	// and basic.get and basic.consume with no-ack, after which a message is gone.
	EarlyNever Early = iota
	// EarlyOptIn: a repetition is a message more, for an application that has said that it can live with that:
	// basic.publish with its content.
	EarlyOptIn
	// EarlyGuarded: only where the listener takes early data at most once (RFC 8446, section 8). It takes up room, makes
	// something that may have been deleted since, or gets messages that others wait for: connection.tune-ok and open,
	// channel.open, declarations, bindings, basic.consume and basic.get.
	EarlyGuarded
	// EarlySafe: a repetition changes nothing but what is sent to whoever repeats it: passive declarations, basic.qos and
	// cancel, the selection of a mode, channel.flow.
	EarlySafe
)

// String returns "never", "opt-in", "guarded" or "safe".
func (e Early) String() string {
	switch e {
	case EarlyOptIn:
		return "opt-in"
	case EarlyGuarded:
		return "guarded"
	case EarlySafe:
		return "safe"
	}
	return "never"
}

// EarlyData returns the class of a method that a client sends, with its content. Methods of a server are EarlyNever. The
// protocol header and heartbeats, which are no methods, are safe.
//
// A connection begins with a login, which is EarlyNever, and all other methods come after it. So without another way to
// tell who the client is, no method of AMQP 0-9-1 gets into early data; what is gained is the protocol header, for which
// the server's connection.start comes back one round trip earlier.
func EarlyData(m Method) Early {
	switch m := m.(type) {
	case *ConnectionTuneOK, *ConnectionOpen, *ChannelOpen, *ExchangeBind, *QueueBind:
		return EarlyGuarded
	case *ExchangeDeclare:
		return passive(m.Passive)
	case *QueueDeclare:
		return passive(m.Passive)
	case *BasicConsume:
		return taking(m.NoAck)
	case *BasicGet:
		return taking(m.NoAck)
	case *BasicPublish:
		return EarlyOptIn
	case *ChannelFlow, *ChannelFlowOK, *AccessRequest, *BasicQos, *BasicCancel, *ConfirmSelect, *TxSelect:
		return EarlySafe
	}
	return EarlyNever
}

// passive is the class of a declaration.
func passive(passive bool) Early {
	if passive {
		return EarlySafe
	}
	return EarlyGuarded
}

// taking is the class of a method that takes messages from a queue.
func taking(noAck bool) Early {
	if noAck {
		return EarlyNever
	}
	return EarlyGuarded
}
