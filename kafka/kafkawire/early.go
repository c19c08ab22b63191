package kafkawire

// Early says whether a request may travel in early data (0-RTT), which somebody who recorded it can send to a server a second
// time. A profile for that is what RFC 9001, section 5.6, demands of a protocol over QUIC. Greater values are less dangerous;
// the zero value is EarlyNever.
type Early uint8

// The classes of [EarlyData]. A client sends what its class does not allow when the handshake is complete; a server does not
// look at it before.
const (
	// EarlyNever: only after the handshake. It changes something, moves a group or a transaction, or carries credentials,
	// which early data protects without forward secrecy.
	EarlyNever Early = iota
	// EarlyOptIn: for an application that has said that it can live with a repetition. It is Produce of an idempotent
	// producer: partitions know the last batches of each producer, and a repetition of one of them is no record more. A
	// partition that has forgotten the producer takes the batch again. Batches without a producer, or in a transaction, and
	// requests with acks=0 are EarlyNever, which the key does not tell.
	EarlyOptIn
	// EarlySafe: a repetition changes nothing but what is sent to whoever repeats it. Metadata is so only if it creates no
	// topic, which the key does not tell.
	EarlySafe
)

// String returns "never", "opt-in" or "safe".
func (e Early) String() string {
	switch e {
	case EarlyOptIn:
		return "opt-in"
	case EarlySafe:
		return "safe"
	}
	return "never"
}

// EarlyData returns the class of a kind of requests. That of keys it does not know is EarlyNever.
func EarlyData(key APIKey) Early {
	switch key {
	case KeyProduce:
		return EarlyOptIn
	case KeyAPIVersions, KeyMetadata, KeyFindCoordinator, KeyDescribeCluster, KeyDescribeTopicPartitions,
		KeyFetch, KeyListOffsets, KeyOffsetForLeaderEpoch, KeyOffsetFetch,
		KeyListGroups, KeyDescribeGroups, KeyConsumerGroupDescribe, KeyShareGroupDescribe, KeyDescribeShareGroupOffsets,
		KeyListTransactions, KeyDescribeTransactions, KeyDescribeProducers,
		KeyDescribeConfigs, KeyListConfigResources, KeyDescribeLogDirs, KeyDescribeACLs, KeyDescribeClientQuotas,
		KeyDescribeUserSCRAMCredentials, KeyDescribeQuorum, KeyListPartitionReassignments, KeyStreamsGroupDescribe:
		return EarlySafe
	}
	return EarlyNever
}
