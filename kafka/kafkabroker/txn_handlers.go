package kafkabroker

import "github.com/quartet-mq/quartet/kafka/kafkawire"

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
