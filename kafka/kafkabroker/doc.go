// Package kafkabroker is a Kafka broker to be embedded. It keeps its partitions in the files of Apache Kafka.
package kafkabroker
