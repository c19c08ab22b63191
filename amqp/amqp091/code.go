package amqp091

// Code is a reply code: why a channel or connection is closed, or a message returned.
type Code uint16

// The reply codes of the standard.
const (
	ReplySuccess       Code = 200 // not an error
	ContentTooLarge    Code = 311 // soft
	NoRoute            Code = 312 // soft: in basic.return, no queue takes the message
	NoConsumers        Code = 313 // soft: in basic.return, no consumer takes the message at once
	ConnectionForced   Code = 320 // hard: an operator closed the connection
	InvalidPath        Code = 402 // hard
	AccessRefused      Code = 403 // soft; RabbitMQ also closes a connection with it
	NotFound           Code = 404 // soft
	ResourceLocked     Code = 405 // soft
	PreconditionFailed Code = 406 // soft
	FrameError         Code = 501 // hard: a malformed frame
	SyntaxError        Code = 502 // hard: an illegal value
	CommandInvalid     Code = 503 // hard
	ChannelError       Code = 504 // hard
	UnexpectedFrame    Code = 505 // hard
	ResourceError      Code = 506 // hard
	NotAllowed         Code = 530 // hard
	NotImplemented     Code = 540 // hard
	InternalError      Code = 541 // hard
)

// String returns the name, such as "NOT_FOUND", or the number of a code that the standard does not have.
func (c Code) String() string {
	switch c {
	case ReplySuccess:
		return "REPLY_SUCCESS"
	case ContentTooLarge:
		return "CONTENT_TOO_LARGE"
	case NoRoute:
		return "NO_ROUTE"
	case NoConsumers:
		return "NO_CONSUMERS"
	case ConnectionForced:
		return "CONNECTION_FORCED"
	case InvalidPath:
		return "INVALID_PATH"
	case AccessRefused:
		return "ACCESS_REFUSED"
	case NotFound:
		return "NOT_FOUND"
	case ResourceLocked:
		return "RESOURCE_LOCKED"
	case PreconditionFailed:
		return "PRECONDITION_FAILED"
	case FrameError:
		return "FRAME_ERROR"
	case SyntaxError:
		return "SYNTAX_ERROR"
	case CommandInvalid:
		return "COMMAND_INVALID"
	case ChannelError:
		return "CHANNEL_ERROR"
	case UnexpectedFrame:
		return "UNEXPECTED_FRAME"
	case ResourceError:
		return "RESOURCE_ERROR"
	case NotAllowed:
		return "NOT_ALLOWED"
	case NotImplemented:
		return "NOT_IMPLEMENTED"
	case InternalError:
		return "INTERNAL_ERROR"
	}
	return utoa(uint64(c))
}

// Hard reports whether the standard closes the connection with this code, and not only a channel. A code that the
// standard does not have is hard.
func (c Code) Hard() bool {
	switch c {
	case ReplySuccess, ContentTooLarge, NoRoute, NoConsumers, AccessRefused, NotFound, ResourceLocked, PreconditionFailed:
		return false
	}
	return true
}
