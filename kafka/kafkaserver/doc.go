// Package kafkaserver serves Kafka connections for a backend of one's own: it owns the connections, their authentication,
// the limits and the order of the responses, and hands requests to the backend. Package kafkabroker is such a backend, with
// topics, groups, transactions and storage.
package kafkaserver
