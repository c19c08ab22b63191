package kafkabroker

type fetchSessions struct{}

func (*fetchSessions) close() {}

type fetchWait struct{}

func (*fetchWait) advanced(*partition) {}
