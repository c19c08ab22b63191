package kafkaserver

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Request is one request of a client. The backend answers it exactly once, by [Request.Reply], [Request.ReplyEncoded],
// [Request.ReplyNothing] or [Request.Fail]; further answers do nothing. These may be called from any goroutine and with
// locks of the backend held; they do not wait.
type Request struct {
	Conn          *Conn
	Key           kafkawire.APIKey
	Version       int16
	CorrelationID int32
	// ClientID is the name that the client gave itself in this request, empty for none.
	ClientID string
	// Body is what follows the header. It belongs to the backend until the answer, which may change it in place; then the
	// memory is used for other requests.
	Body []byte
	// Received is when the request was complete.
	Received time.Time

	st      *stream
	frame   *Buffer // has Body
	size    int     // of the frame, with the four bytes of its size
	started *Buffer // of Start, until the answer
	reply   reply   // under the lock of the connection, as done is
	done    bool    // was answered
}

// Decode reads the body into a message of the request's key. Bytes after its end are ignored. It fails when there are more
// elements than [Limits].MaxElements.
func (r *Request) Decode(m kafkawire.Request) error {
	if m.Key() != r.Key {
		return fmt.Errorf("kafkaserver: %v cannot be decoded as %v", r.Key, m.Key())
	}
	err := m.DecodeLimited(r.Body, r.Version, r.Conn.srv.limits.MaxElements)
	if e := (*kafkawire.Error)(nil); errors.As(err, &e) && e.Rest > 0 {
		return nil // as Apache Kafka; librdkafka 2.16 asks for all topics like that
	}
	return err
}

// CheckElements fails as [Request.Decode] does when n elements are more than [Limits].MaxElements. It is for backends that read a
// body in place, and count what is in it themselves.
func (r *Request) CheckElements(n int) error {
	if limit := r.Conn.srv.limits.MaxElements; limit > 0 && n > limit {
		return fmt.Errorf("kafkaserver: %d elements: %w", n, kafkawire.ErrElements)
	}
	return nil
}

// DropBody gives the memory of Body back before the answer. Call it for requests that wait, once nothing of Body is used any
// more: others may need the memory meanwhile, see [Limits].MemoryLimit. Nobody may answer the request before it returns.
func (r *Request) DropBody() {
	f := r.frame
	r.frame, r.Body = nil, nil
	if f != nil {
		r.Conn.giveFrame(f)
	}
}

// Stream returns the number of the stream that the request came on, and that the response leaves on: 0 is the connection itself,
// further ones are there with [StreamsProtocol] only.
func (r *Request) Stream() int64 { return r.st.id }

// Size returns the size of the request on the wire, in bytes.
func (r *Request) Size() int { return r.size }

// Reply answers with a message. It is encoded at once and not kept. A message that the version cannot express is an error
// of the backend: it is logged, and the connection is closed.
func (r *Request) Reply(m kafkawire.Response) {
	b := r.Start()
	out, err := m.Append(b, r.Version)
	if err != nil {
		r.Fail(fmt.Errorf("kafkaserver: cannot encode the response: %w", err))
		return
	}
	r.ReplyEncoded(out)
}

// Start returns memory to which a response may be appended, with its header already in it; [Request.ReplyEncoded] follows
// with the extended slice.
func (r *Request) Start() []byte {
	return r.start(r.Key, r.Version)
}

// ReplyEncoded answers with what was appended to the slice that [Request.Start] returned, which may have moved. Into it go
// the splices, in the order of their places. None of the two slices is kept, but the data of the splices is sent from where
// it is.
func (r *Request) ReplyEncoded(b []byte, splices ...Splice) {
	r.finish(b, splices)
}

// ReplyNothing is the end of a request without a response: Produce with acks=0.
func (r *Request) ReplyNothing() { r.st.answered(r, reply{}) }

// Fail closes the connection because of the request: it cannot be decoded, for example. Kafka does so, too, when there is
// no response that could say what is wrong. The error is logged.
func (r *Request) Fail(err error) {
	r.Conn.fail(fmt.Errorf("%v version %d: %w", r.Key, r.Version, err))
	r.st.answered(r, reply{})
}

// SendsFiles reports whether the response may have parts of files in it: on Linux, for connections without TLS.
func (r *Request) SendsFiles() bool { return r.st.io.SendsFiles() }

// File is what an *os.File is.
type File interface {
	io.ReaderAt
	syscall.Conn
}

// Splice is data that belongs into an encoded response: the records of a fetched partition.
type Splice struct {
	// At is the offset in the slice of ReplyEncoded, the header included: what [kafkawire.FetchWriter.Len] returns when the
	// response is written to [Request.Start].
	At int
	// Data must not change until it is released.
	Data []byte
	// File, when Size is not 0, has the data instead: so many bytes from Offset on, which are in it and do not change. They are
	// sent without a copy of them in the memory of the process. When they cannot be read the connection ends. It is only for
	// requests whose [Request.SendsFiles] says so.
	File   File
	Offset int64
	Size   int
	// Owner is released when the data is sent or dropped. It may be nil.
	Owner Releaser
}

// Releaser takes memory back.
type Releaser interface {
	// Release is called once, from any goroutine, within the call that answers a request even: it must not take a lock that
	// is held there.
	Release()
}
