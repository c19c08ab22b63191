package amqpbroker

// settingsOf returns what the arguments of a queue and its policies say. Of numbers the lower one counts; otherwise the
// argument does.
func (b *Broker) settingsOf(q *queue) settings {
	s := noSettings
	policy := b.reg.policyFor(q.v.name, resourceQueue, q.kind, q.name)
	for _, f := range policy.definition {
		s.apply(f.Key, f.Value)
	}
	if len(q.args) > 0 {
		args := noSettings
		for _, f := range q.args {
			if len(f.Key) > 2 && f.Key[:2] == "x-" {
				args.apply(f.Key[2:], f.Value)
			}
		}
		s.restrict(&args)
		if _, ok := q.args.Get("x-overflow"); ok {
			s.overflow = args.overflow
		}
	}
	if q.kind == "quorum" && s.deliveryLimit < 0 {
		if _, ok := q.args.Get("x-delivery-limit"); !ok {
			s.deliveryLimit = quorumLimit
		}
	}
	return s
}

// quorumLimit is the delivery limit of queues of the type quorum that say nothing else.
const quorumLimit = 20

// restrict combines what a policy says with the arguments of a queue.
func (s *settings) restrict(args *settings) {
	for _, p := range [...]struct{ policy, arg *int64 }{
		{&s.ttl, &args.ttl}, {&s.expires, &args.expires}, {&s.maxLength, &args.maxLength}, {&s.maxBytes, &args.maxBytes},
		{&s.deliveryLimit, &args.deliveryLimit},
	} {
		if *p.policy < 0 || *p.arg >= 0 && *p.arg < *p.policy {
			*p.policy = *p.arg
		}
	}
	if args.deadLetter {
		s.deadLetter, s.exchange = true, args.exchange
	}
	if args.rekey {
		s.rekey, s.key = true, args.key
	}
	if args.timeout > 0 {
		s.timeout = args.timeout
	}
}

// applyPolicy gives an exchange what its policies say.
func (b *Broker) applyPolicy(x *exchange) {
	if _, ok := x.args.Get("alternate-exchange"); ok {
		return
	}
	policy := b.reg.policyFor(x.v.name, resourceExchange, "", x.name)
	if name, ok := policy.text("alternate-exchange"); ok {
		x.alternate.Store(&name)
	} else {
		x.alternate.Store(nil)
	}
}
