package mqtt

// Publish is the PUBLISH packet (section 3.3). A decoded Publish aliases the decoder's input: Topic, Payload and
// Properties are valid until that input is reused. Topic is empty when only a topic alias names the topic.
type Publish struct {
	Topic      []byte
	Payload    []byte
	Properties Properties // version 5 only
	ID         uint16     // packet identifier, 0 at QoS 0
	QoS        QoS
	Dup        bool
	Retain     bool
}
