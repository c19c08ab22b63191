package amqpbroker

import (
	"fmt"
	"math"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// queueArgument is an argument of a queue that has a meaning.
type queueArgument struct {
	name  string
	check func(v any, args amqp091.Table) string // what is wrong with the value, "" for nothing
	equal bool                                   // it must be the same when the queue is declared again
}

// queueArguments are the arguments of queues.
func queueArguments() []queueArgument {
	return []queueArgument{
		{"x-message-ttl", notNegative, true},
		{"x-expires", positive, true},
		{"x-max-length", notNegative, true},
		{"x-max-length-bytes", notNegative, true},
		{"x-max-priority", maxPriority, true},
		{"x-overflow", overflowValue, true},
		{"x-dead-letter-exchange", isText, true},
		{"x-dead-letter-routing-key", deadLetterKey, true},
		{"x-queue-type", queueType, true},
		{"x-queue-mode", queueMode, false},
		{"x-single-active-consumer", isBool, true},
		{"x-delivery-limit", isInt, true},
		{"x-consumer-timeout", notNegative, false},
	}
}

func badType(v any) string { return fmt.Sprintf("{unacceptable_type,%s}", typeName(v)) }

func isInt(v any, _ amqp091.Table) string {
	if _, ok := integer(v); !ok {
		return badType(v)
	}
	return ""
}

func notNegative(v any, _ amqp091.Table) string {
	n, ok := integer(v)
	switch {
	case !ok:
		return badType(v)
	case n < 0:
		return fmt.Sprintf("{value_negative,%d}", n)
	}
	return ""
}

func positive(v any, args amqp091.Table) string {
	if n, ok := integer(v); ok && n == 0 {
		return "{value_zero,0}"
	}
	return notNegative(v, args)
}

func maxPriority(v any, args amqp091.Table) string {
	if n, ok := integer(v); ok && n > math.MaxUint8 {
		return fmt.Sprintf("{max_value_exceeded,%d}", n)
	}
	return notNegative(v, args)
}

func isText(v any, _ amqp091.Table) string {
	if _, ok := v.(string); !ok {
		return badType(v)
	}
	return ""
}

func isBool(v any, _ amqp091.Table) string {
	if _, ok := v.(bool); !ok {
		return badType(v)
	}
	return ""
}

func overflowValue(v any, _ amqp091.Table) string {
	s, ok := v.(string)
	if !ok {
		return badType(v)
	}
	if _, ok := overflowOf(s); !ok {
		return "invalid_overflow"
	}
	return ""
}

func overflowOf(s string) (overflow, bool) {
	switch s {
	case "drop-head":
		return overflowDropHead, true
	case "reject-publish":
		return overflowReject, true
	case "reject-publish-dlx":
		return overflowRejectDLX, true
	}
	return 0, false
}

func deadLetterKey(v any, args amqp091.Table) string {
	key, ok := v.(string)
	switch {
	case !ok:
		return badType(v)
	case len(key) > maxKey: // nobody could be sent such a message
		return fmt.Sprintf("{too_long,%d}", len(key))
	}
	if _, ok := args.Get("x-dead-letter-exchange"); !ok {
		return "routing_key_but_no_dlx_defined"
	}
	return ""
}

func queueType(v any, _ amqp091.Table) string {
	s, ok := v.(string)
	switch {
	case !ok:
		return badType(v)
	case s != "classic" && s != "quorum":
		return fmt.Sprintf("%q", "unsupported queue type '"+s+"'")
	}
	return ""
}

func queueMode(v any, _ amqp091.Table) string {
	s, ok := v.(string)
	switch {
	case !ok:
		return badType(v)
	case s != "default" && s != "lazy":
		return "invalid_queue_mode"
	}
	return ""
}

// checkQueueArguments returns what is wrong with the arguments of a queue that is declared.
func checkQueueArguments(args amqp091.Table, title string) error {
	if len(args) == 0 {
		return nil
	}
	for _, a := range queueArguments() {
		if v, ok := args.Get(a.name); ok {
			if bad := a.check(v, args); bad != "" {
				return amqp091.SoftError(amqp091.PreconditionFailed, "invalid arg '%s' for %s: %s", a.name, title, bad)
			}
		}
	}
	return nil
}

// apply sets what an argument or the key of a policy (without "x-") says. Values of a wrong type are ignored: they were
// checked.
func (s *settings) apply(name string, v any) {
	n, isInt := integer(v)
	word, _ := v.(string)
	switch name {
	case "message-ttl":
		setInt(&s.ttl, min(n, maxDelay), isInt)
	case "expires":
		setInt(&s.expires, min(n, maxDelay), isInt)
	case "max-length":
		setInt(&s.maxLength, n, isInt)
	case "max-length-bytes":
		setInt(&s.maxBytes, n, isInt)
	case "delivery-limit":
		setInt(&s.deliveryLimit, n, isInt)
	case "consumer-timeout":
		setInt(&s.timeout, min(n, maxDelay), isInt)
	case "overflow":
		if o, ok := overflowOf(word); ok {
			s.overflow = o
		}
	case "dead-letter-exchange":
		s.deadLetter, s.exchange = true, word
	case "dead-letter-routing-key":
		s.rekey, s.key = true, word
	}
}

func setInt(p *int64, n int64, ok bool) {
	if ok {
		*p = n
	}
}

// sameArguments checks that a queue or exchange which is declared again has the arguments that it has.
func sameArguments(names []string, now, asked amqp091.Table, title string) error {
	for _, name := range names {
		have, ok1 := now.Get(name)
		want, ok2 := asked.Get(name)
		if ok1 == ok2 && (!ok1 || sameArgument(have, want)) {
			continue
		}
		if ok1 && ok2 {
			return inequivalent(name, title, want, have)
		}
		return amqp091.SoftError(amqp091.PreconditionFailed, "inequivalent arg '%s' for %s: received %s but current is %s", name, title,
			describe(want, ok2), describe(have, ok1))
	}
	return nil
}

func sameArgument(a, b any) bool {
	x, ok1 := integer(a)
	y, ok2 := integer(b)
	if ok1 && ok2 {
		return x == y
	}
	return amqp091.Table{{Key: "", Value: a}}.Equal(amqp091.Table{{Key: "", Value: b}})
}

func describe(v any, ok bool) string {
	if !ok {
		return "none"
	}
	return fmt.Sprintf("the value '%v' of type '%s'", v, typeName(v))
}

// inequivalent is the error of a declaration that differs from what there is.
func inequivalent(arg, title string, want, have any) error {
	return amqp091.SoftError(amqp091.PreconditionFailed, "inequivalent arg '%s' for %s: received '%v' but current is '%v'", arg, title,
		want, have)
}
