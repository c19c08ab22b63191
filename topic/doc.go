// Package topic matches topic names with topic filters in the syntaxes of MQTT
// and AMQP.
//
// [Syntax] validates and matches a single pair. [Trie] holds many filters and
// finds those that match a name: the subscriptions of a published message.
// [Names] is the reverse and finds the names that match a filter: the retained
// messages of a new subscription. Both are safe for concurrent use; reading
// takes no lock and allocates nothing.
package topic
