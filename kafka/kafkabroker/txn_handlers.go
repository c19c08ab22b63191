package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// txnHandlers are the requests about transactions.
func txnHandlers() []handler {
	return []handler{
		{kafkawire.KeyInitProducerID, 0, 5, (*session).initProducerID},
		{kafkawire.KeyAddPartitionsToTxn, 0, 5, (*session).addPartitionsToTxn},
		{kafkawire.KeyAddOffsetsToTxn, 0, 4, (*session).addOffsetsToTxn},
		{kafkawire.KeyEndTxn, 0, 5, (*session).endTxn},
		{kafkawire.KeyWriteTxnMarkers, 1, 2, (*session).writeTxnMarkers},
		{kafkawire.KeyDescribeTransactions, 0, 0, (*session).describeTransactions},
		{kafkawire.KeyListTransactions, 0, 2, (*session).listTransactions},
	}
}

// txnFeatures says that producers may use transactions as of KIP-890, if all requests that are part of that are there.
func (t *handlerTable) txnFeatures() []kafkaserver.Feature {
	for _, need := range []struct {
		key     kafkawire.APIKey
		version int16
	}{
		{kafkawire.KeyProduce, 12}, {kafkawire.KeyEndTxn, 5}, {kafkawire.KeyTxnOffsetCommit, 5}, {kafkawire.KeyAddPartitionsToTxn, 4},
	} {
		if h := t[need.key]; h == nil || h.max < need.version {
			return nil
		}
	}
	return []kafkaserver.Feature{{Name: "transaction.version", Min: 0, Max: 2, Level: 2}}
}
