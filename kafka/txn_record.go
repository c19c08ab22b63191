package kafka

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TxnState is how far a transaction is.
type TxnState int8

// The states, with the numbers that they have in records.
const (
	TxnEmpty          TxnState = 0 // no transaction yet with this epoch
	TxnOngoing        TxnState = 1
	TxnPrepareCommit  TxnState = 2 // decided; markers are being written
	TxnPrepareAbort   TxnState = 3 // decided; markers are being written
	TxnCompleteCommit TxnState = 4 // all markers are written
	TxnCompleteAbort  TxnState = 5 // all markers are written
)

// String returns the name that Kafka gives the state.
func (s TxnState) String() string {
	switch s {
	case TxnEmpty:
		return "Empty"
	case TxnOngoing:
		return "Ongoing"
	case TxnPrepareCommit:
		return "PrepareCommit"
	case TxnPrepareAbort:
		return "PrepareAbort"
	case TxnCompleteCommit:
		return "CompleteCommit"
	case TxnCompleteAbort:
		return "CompleteAbort"
	}
	return "TxnState(" + strconv.Itoa(int(s)) + ")"
}

// deciding reports whether markers are being written.
func (s TxnState) deciding() bool { return s == TxnPrepareCommit || s == TxnPrepareAbort }

// A client is never given the highest epoch, so that there is always one to fence it.
const exhaustedEpoch = math.MaxInt16 - 1

// TxnRecord is the state of a transactional id, as a record of __transaction_state holds it.
type TxnRecord struct {
	ProducerID kafkawire.ProducerID
	Epoch      int16
	PreviousID kafkawire.ProducerID // before the last transition, -1 for none
	NextID     kafkawire.ProducerID // which takes over when the transaction is complete, -1 for none
	LastEpoch  int16                // before Epoch, -1 for none; the record in the log does not have it
	State      TxnState
	Version    int16            // of transactions, as the client that made the last transition uses them
	Timeout    int32            // milliseconds that a transaction may take
	Partitions []TopicPartition // in order
	Updated    int64            // milliseconds since 1970
	Started    int64            // milliseconds since 1970, -1 for no transaction
}

// deadline is when an ongoing transaction is aborted.
func (r *TxnRecord) deadline() time.Time {
	return time.UnixMilli(r.Started).Add(time.Duration(r.Timeout) * time.Millisecond)
}

// AppendTxnKey appends the key of the records of a transactional id.
func AppendTxnKey(dst []byte, id kafkawire.TransactionalID) ([]byte, error) {
	return kafkawire.AppendVersioned(dst, &kafkawire.TransactionLogKey{TransactionalID: id}, 0)
}

// AppendValue appends the value of the record.
func (r *TxnRecord) AppendValue(dst []byte) ([]byte, error) {
	var v kafkawire.TransactionLogValue
	v.Reset()
	v.ProducerID, v.ProducerEpoch = r.ProducerID, r.Epoch
	v.PreviousProducerID, v.NextProducerID = r.PreviousID, r.NextID
	v.TransactionTimeoutMs, v.TransactionStatus = r.Timeout, int8(r.State)
	v.TransactionLastUpdateTimestampMs, v.TransactionStartTimestampMs = r.Updated, r.Started
	v.ClientTransactionVersion = r.Version
	if r.State != TxnEmpty {
		v.TransactionPartitions = []kafkawire.TransactionLogValueTransactionPartition{}
		for _, p := range r.Partitions {
			n := len(v.TransactionPartitions)
			if n == 0 || v.TransactionPartitions[n-1].Topic != p.Topic {
				v.TransactionPartitions = append(v.TransactionPartitions, kafkawire.TransactionLogValueTransactionPartition{Topic: p.Topic})
				n++
			}
			t := &v.TransactionPartitions[n-1]
			t.PartitionIDs = append(t.PartitionIDs, p.Partition)
		}
	}
	return kafkawire.AppendVersioned(dst, &v, 1)
}

// ReadTxnKey reads the key of a record. ok is false for keys of a kind that is not known, which are passed over.
func ReadTxnKey(key []byte) (id kafkawire.TransactionalID, ok bool, err error) {
	if len(key) < 2 {
		return "", false, corrupt("a record of a transaction without a key")
	}
	if key[0] != 0 || key[1] != 0 {
		return "", false, nil
	}
	var k kafkawire.TransactionLogKey
	if _, err := kafkawire.DecodeVersioned(key, &k); err != nil {
		return "", false, corrupt("the key of a transaction: " + err.Error())
	}
	return k.TransactionalID, true, nil
}

// ReadTxnValue reads the value of a record, which is not null.
func ReadTxnValue(value []byte) (*TxnRecord, error) {
	var v kafkawire.TransactionLogValue
	if _, err := kafkawire.DecodeVersioned(value, &v); err != nil {
		return nil, corrupt("the value of a transaction: " + err.Error())
	}
	r := &TxnRecord{
		ProducerID: v.ProducerID, Epoch: v.ProducerEpoch, PreviousID: v.PreviousProducerID, NextID: v.NextProducerID, LastEpoch: -1,
		State: TxnState(v.TransactionStatus), Version: v.ClientTransactionVersion, Timeout: v.TransactionTimeoutMs,
		Updated: v.TransactionLastUpdateTimestampMs, Started: v.TransactionStartTimestampMs,
	}
	if r.State < TxnEmpty || r.State > TxnCompleteAbort || r.ProducerID < 0 || r.Epoch < 0 {
		return nil, corrupt("a transaction in a state that there is not")
	}
	for _, t := range v.TransactionPartitions {
		for _, p := range t.PartitionIDs {
			r.Partitions = append(r.Partitions, TopicPartition{t.Topic, p})
		}
	}
	slices.SortFunc(r.Partitions, TopicPartition.Compare)
	r.Partitions = slices.Compact(r.Partitions)
	return r, nil
}

// Contains reports whether a partition is in the transaction.
func (r *TxnRecord) Contains(p TopicPartition) bool {
	_, ok := slices.BinarySearchFunc(r.Partitions, p, TopicPartition.Compare)
	return ok
}
