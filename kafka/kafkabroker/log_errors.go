package kafkabroker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// noError is the code when all is well.
const noError kafkawire.ErrorCode = 0

// errorCode is the code for an error; those without one are UNKNOWN_SERVER_ERROR.
func errorCode(err error) kafkawire.ErrorCode {
	var code kafkawire.ErrorCode
	switch {
	case err == nil:
		return noError
	case errors.As(err, &code):
		return code
	}
	return kafkawire.ErrUnknownServerError
}

// errorText is what clients are told about an error, beside its code: nil when that says everything.
func errorText(err error) *string {
	var e *kafka.Error
	if errors.As(err, &e) && e.Text != "" {
		if len(e.Text) > maxErrorText {
			return new(strings.ToValidUTF8(e.Text[:maxErrorText], "") + "...")
		}
		return &e.Text
	}
	return nil
}

// maxErrorText bounds the text beside an error code. It may quote what the client has sent.
const maxErrorText = 1000

// logError returns an error with a code of the protocol.
func logError(code kafkawire.ErrorCode, format string, args ...any) error {
	return &kafka.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// storageError is what becomes of a failure of the file system. Clients see KAFKA_STORAGE_ERROR.
type storageError struct {
	op  string // what was done, and to which log
	err error
}

// Error returns everything in words.
func (e *storageError) Error() string {
	return kafkawire.ErrKafkaStorageError.Error() + ": " + e.op + ": " + e.err.Error()
}

// Unwrap returns the code and the cause.
func (e *storageError) Unwrap() []error { return []error{kafkawire.ErrKafkaStorageError, e.err} }

// recordError is what is wrong with one record of a produced batch.
type recordError struct {
	index int // within the batch, from 0
	text  string
}

// batchError is the error for a batch of which some records are refused, so that none is appended. Since version 8 a
// produce response names the records.
type batchError struct {
	cause   kafka.Error
	records []recordError
}

// Error returns everything in words.
func (e *batchError) Error() string {
	return fmt.Sprintf("%v (record %d; %d records)", &e.cause, e.records[0].index, len(e.records))
}

// Unwrap returns the error with its code.
func (e *batchError) Unwrap() error { return &e.cause }

// closedError is the error for a log that is closed or removed. Clients look for its leader anew.
type closedError struct{}

// Error returns it in words.
func (closedError) Error() string {
	return kafkawire.ErrNotLeaderOrFollower.Error() + ": the log is closed"
}

// Unwrap returns the code.
func (closedError) Unwrap() error { return kafkawire.ErrNotLeaderOrFollower }

var errClosed = closedError{}

// errGone says that a segment was removed or replaced while somebody was about to read it: there is another one.
var errGone = errors.New("kafkabroker: the segment is gone")

// corruptError is damage that was found in a file.
type corruptError struct {
	file string
	at   int64
	text string
}

// Error returns everything in words.
func (e *corruptError) Error() string {
	return fmt.Sprintf("%s: %s at %d: %s", kafkawire.ErrCorruptMessage.Error(), e.file, e.at, e.text)
}

// Unwrap returns the code.
func (e *corruptError) Unwrap() error { return kafkawire.ErrCorruptMessage }
