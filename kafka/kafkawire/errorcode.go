package kafkawire

import "strconv"

// ErrorCode is what a response says about an error; zero means that there is none. It is an error itself, so that
// errors.Is(err, ErrNotLeaderOrFollower) works on errors that wrap one; [ErrorCode.Err] turns zero into nil.
type ErrorCode int16

// The error codes of Kafka 4.4.
const (
	ErrUnknownServerError                     ErrorCode = -1
	ErrOffsetOutOfRange                       ErrorCode = 1
	ErrCorruptMessage                         ErrorCode = 2
	ErrUnknownTopicOrPartition                ErrorCode = 3
	ErrInvalidFetchSize                       ErrorCode = 4
	ErrLeaderNotAvailable                     ErrorCode = 5
	ErrNotLeaderOrFollower                    ErrorCode = 6
	ErrRequestTimedOut                        ErrorCode = 7
	ErrBrokerNotAvailable                     ErrorCode = 8
	ErrReplicaNotAvailable                    ErrorCode = 9
	ErrMessageTooLarge                        ErrorCode = 10
	ErrStaleControllerEpoch                   ErrorCode = 11
	ErrOffsetMetadataTooLarge                 ErrorCode = 12
	ErrNetworkException                       ErrorCode = 13
	ErrCoordinatorLoadInProgress              ErrorCode = 14
	ErrCoordinatorNotAvailable                ErrorCode = 15
	ErrNotCoordinator                         ErrorCode = 16
	ErrInvalidTopic                           ErrorCode = 17
	ErrRecordListTooLarge                     ErrorCode = 18
	ErrNotEnoughReplicas                      ErrorCode = 19
	ErrNotEnoughReplicasAfterAppend           ErrorCode = 20
	ErrInvalidRequiredAcks                    ErrorCode = 21
	ErrIllegalGeneration                      ErrorCode = 22
	ErrInconsistentGroupProtocol              ErrorCode = 23
	ErrInvalidGroupID                         ErrorCode = 24
	ErrUnknownMemberID                        ErrorCode = 25
	ErrInvalidSessionTimeout                  ErrorCode = 26
	ErrRebalanceInProgress                    ErrorCode = 27
	ErrInvalidCommitOffsetSize                ErrorCode = 28
	ErrTopicAuthorizationFailed               ErrorCode = 29
	ErrGroupAuthorizationFailed               ErrorCode = 30
	ErrClusterAuthorizationFailed             ErrorCode = 31
	ErrInvalidTimestamp                       ErrorCode = 32
	ErrUnsupportedSASLMechanism               ErrorCode = 33
	ErrIllegalSASLState                       ErrorCode = 34
	ErrUnsupportedVersion                     ErrorCode = 35
	ErrTopicAlreadyExists                     ErrorCode = 36
	ErrInvalidPartitions                      ErrorCode = 37
	ErrInvalidReplicationFactor               ErrorCode = 38
	ErrInvalidReplicaAssignment               ErrorCode = 39
	ErrInvalidConfig                          ErrorCode = 40
	ErrNotController                          ErrorCode = 41
	ErrInvalidRequest                         ErrorCode = 42
	ErrUnsupportedForMessageFormat            ErrorCode = 43
	ErrPolicyViolation                        ErrorCode = 44
	ErrOutOfOrderSequenceNumber               ErrorCode = 45
	ErrDuplicateSequenceNumber                ErrorCode = 46
	ErrInvalidProducerEpoch                   ErrorCode = 47
	ErrInvalidTxnState                        ErrorCode = 48
	ErrInvalidProducerIDMapping               ErrorCode = 49
	ErrInvalidTransactionTimeout              ErrorCode = 50
	ErrConcurrentTransactions                 ErrorCode = 51
	ErrTransactionCoordinatorFenced           ErrorCode = 52
	ErrTransactionalIDAuthorizationFailed     ErrorCode = 53
	ErrSecurityDisabled                       ErrorCode = 54
	ErrOperationNotAttempted                  ErrorCode = 55
	ErrKafkaStorageError                      ErrorCode = 56
	ErrLogDirNotFound                         ErrorCode = 57
	ErrSASLAuthenticationFailed               ErrorCode = 58
	ErrUnknownProducerID                      ErrorCode = 59
	ErrReassignmentInProgress                 ErrorCode = 60
	ErrDelegationTokenAuthDisabled            ErrorCode = 61
	ErrDelegationTokenNotFound                ErrorCode = 62
	ErrDelegationTokenOwnerMismatch           ErrorCode = 63
	ErrDelegationTokenRequestNotAllowed       ErrorCode = 64
	ErrDelegationTokenAuthorizationFailed     ErrorCode = 65
	ErrDelegationTokenExpired                 ErrorCode = 66
	ErrInvalidPrincipalType                   ErrorCode = 67
	ErrNonEmptyGroup                          ErrorCode = 68
	ErrGroupIDNotFound                        ErrorCode = 69
	ErrFetchSessionIDNotFound                 ErrorCode = 70
	ErrInvalidFetchSessionEpoch               ErrorCode = 71
	ErrListenerNotFound                       ErrorCode = 72
	ErrTopicDeletionDisabled                  ErrorCode = 73
	ErrFencedLeaderEpoch                      ErrorCode = 74
	ErrUnknownLeaderEpoch                     ErrorCode = 75
	ErrUnsupportedCompressionType             ErrorCode = 76
	ErrStaleBrokerEpoch                       ErrorCode = 77
	ErrOffsetNotAvailable                     ErrorCode = 78
	ErrMemberIDRequired                       ErrorCode = 79
	ErrPreferredLeaderNotAvailable            ErrorCode = 80
	ErrGroupMaxSizeReached                    ErrorCode = 81
	ErrFencedInstanceID                       ErrorCode = 82
	ErrEligibleLeadersNotAvailable            ErrorCode = 83
	ErrElectionNotNeeded                      ErrorCode = 84
	ErrNoReassignmentInProgress               ErrorCode = 85
	ErrGroupSubscribedToTopic                 ErrorCode = 86
	ErrInvalidRecord                          ErrorCode = 87
	ErrUnstableOffsetCommit                   ErrorCode = 88
	ErrThrottlingQuotaExceeded                ErrorCode = 89
	ErrProducerFenced                         ErrorCode = 90
	ErrResourceNotFound                       ErrorCode = 91
	ErrDuplicateResource                      ErrorCode = 92
	ErrUnacceptableCredential                 ErrorCode = 93
	ErrInconsistentVoterSet                   ErrorCode = 94
	ErrInvalidUpdateVersion                   ErrorCode = 95
	ErrFeatureUpdateFailed                    ErrorCode = 96
	ErrPrincipalDeserializationFailure        ErrorCode = 97
	ErrSnapshotNotFound                       ErrorCode = 98
	ErrPositionOutOfRange                     ErrorCode = 99
	ErrUnknownTopicID                         ErrorCode = 100
	ErrDuplicateBrokerRegistration            ErrorCode = 101
	ErrBrokerIDNotRegistered                  ErrorCode = 102
	ErrInconsistentTopicID                    ErrorCode = 103
	ErrInconsistentClusterID                  ErrorCode = 104
	ErrTransactionalIDNotFound                ErrorCode = 105
	ErrFetchSessionTopicIDError               ErrorCode = 106
	ErrIneligibleReplica                      ErrorCode = 107
	ErrNewLeaderElected                       ErrorCode = 108
	ErrOffsetMovedToTieredStorage             ErrorCode = 109
	ErrFencedMemberEpoch                      ErrorCode = 110
	ErrUnreleasedInstanceID                   ErrorCode = 111
	ErrUnsupportedAssignor                    ErrorCode = 112
	ErrStaleMemberEpoch                       ErrorCode = 113
	ErrMismatchedEndpointType                 ErrorCode = 114
	ErrUnsupportedEndpointType                ErrorCode = 115
	ErrUnknownControllerID                    ErrorCode = 116
	ErrUnknownSubscriptionID                  ErrorCode = 117
	ErrTelemetryTooLarge                      ErrorCode = 118
	ErrInvalidRegistration                    ErrorCode = 119
	ErrTransactionAbortable                   ErrorCode = 120
	ErrInvalidRecordState                     ErrorCode = 121
	ErrShareSessionNotFound                   ErrorCode = 122
	ErrInvalidShareSessionEpoch               ErrorCode = 123
	ErrFencedStateEpoch                       ErrorCode = 124
	ErrInvalidVoterKey                        ErrorCode = 125
	ErrDuplicateVoter                         ErrorCode = 126
	ErrVoterNotFound                          ErrorCode = 127
	ErrInvalidRegularExpression               ErrorCode = 128
	ErrRebootstrapRequired                    ErrorCode = 129
	ErrStreamsInvalidTopology                 ErrorCode = 130
	ErrStreamsInvalidTopologyEpoch            ErrorCode = 131
	ErrStreamsTopologyFenced                  ErrorCode = 132
	ErrShareSessionLimitReached               ErrorCode = 133
	ErrGroupDeletionFailed                    ErrorCode = 134
	ErrStreamsTopologyDescriptionUpdateFailed ErrorCode = 135
	ErrControllerIDNotRegistered              ErrorCode = 136
)

// mark is what a client should make of an error.
type mark uint8

const (
	retriable mark = 1 << iota // the same request can succeed later
	stale                      // metadata is out of date
	moved                      // the coordinator is somewhere else
	fatal                      // it will be the same for everything that follows
)

// errorTable has the names and marks of the codes from 1.
var errorTable = [...]struct {
	name string
	mark mark
}{
	ErrOffsetOutOfRange:                       {"OFFSET_OUT_OF_RANGE", 0},
	ErrCorruptMessage:                         {"CORRUPT_MESSAGE", retriable},
	ErrUnknownTopicOrPartition:                {"UNKNOWN_TOPIC_OR_PARTITION", retriable | stale},
	ErrInvalidFetchSize:                       {"INVALID_FETCH_SIZE", 0},
	ErrLeaderNotAvailable:                     {"LEADER_NOT_AVAILABLE", retriable | stale},
	ErrNotLeaderOrFollower:                    {"NOT_LEADER_OR_FOLLOWER", retriable | stale},
	ErrRequestTimedOut:                        {"REQUEST_TIMED_OUT", retriable},
	ErrBrokerNotAvailable:                     {"BROKER_NOT_AVAILABLE", 0},
	ErrReplicaNotAvailable:                    {"REPLICA_NOT_AVAILABLE", retriable | stale},
	ErrMessageTooLarge:                        {"MESSAGE_TOO_LARGE", 0},
	ErrStaleControllerEpoch:                   {"STALE_CONTROLLER_EPOCH", 0},
	ErrOffsetMetadataTooLarge:                 {"OFFSET_METADATA_TOO_LARGE", 0},
	ErrNetworkException:                       {"NETWORK_EXCEPTION", retriable | stale},
	ErrCoordinatorLoadInProgress:              {"COORDINATOR_LOAD_IN_PROGRESS", retriable},
	ErrCoordinatorNotAvailable:                {"COORDINATOR_NOT_AVAILABLE", retriable | moved},
	ErrNotCoordinator:                         {"NOT_COORDINATOR", retriable | moved},
	ErrInvalidTopic:                           {"INVALID_TOPIC_EXCEPTION", 0},
	ErrRecordListTooLarge:                     {"RECORD_LIST_TOO_LARGE", 0},
	ErrNotEnoughReplicas:                      {"NOT_ENOUGH_REPLICAS", retriable},
	ErrNotEnoughReplicasAfterAppend:           {"NOT_ENOUGH_REPLICAS_AFTER_APPEND", retriable},
	ErrInvalidRequiredAcks:                    {"INVALID_REQUIRED_ACKS", 0},
	ErrIllegalGeneration:                      {"ILLEGAL_GENERATION", 0},
	ErrInconsistentGroupProtocol:              {"INCONSISTENT_GROUP_PROTOCOL", fatal},
	ErrInvalidGroupID:                         {"INVALID_GROUP_ID", fatal},
	ErrUnknownMemberID:                        {"UNKNOWN_MEMBER_ID", 0},
	ErrInvalidSessionTimeout:                  {"INVALID_SESSION_TIMEOUT", fatal},
	ErrRebalanceInProgress:                    {"REBALANCE_IN_PROGRESS", 0},
	ErrInvalidCommitOffsetSize:                {"INVALID_COMMIT_OFFSET_SIZE", 0},
	ErrTopicAuthorizationFailed:               {"TOPIC_AUTHORIZATION_FAILED", 0},
	ErrGroupAuthorizationFailed:               {"GROUP_AUTHORIZATION_FAILED", fatal},
	ErrClusterAuthorizationFailed:             {"CLUSTER_AUTHORIZATION_FAILED", fatal},
	ErrInvalidTimestamp:                       {"INVALID_TIMESTAMP", 0},
	ErrUnsupportedSASLMechanism:               {"UNSUPPORTED_SASL_MECHANISM", fatal},
	ErrIllegalSASLState:                       {"ILLEGAL_SASL_STATE", fatal},
	ErrUnsupportedVersion:                     {"UNSUPPORTED_VERSION", fatal},
	ErrTopicAlreadyExists:                     {"TOPIC_ALREADY_EXISTS", 0},
	ErrInvalidPartitions:                      {"INVALID_PARTITIONS", 0},
	ErrInvalidReplicationFactor:               {"INVALID_REPLICATION_FACTOR", 0},
	ErrInvalidReplicaAssignment:               {"INVALID_REPLICA_ASSIGNMENT", 0},
	ErrInvalidConfig:                          {"INVALID_CONFIG", 0},
	ErrNotController:                          {"NOT_CONTROLLER", retriable},
	ErrInvalidRequest:                         {"INVALID_REQUEST", 0},
	ErrUnsupportedForMessageFormat:            {"UNSUPPORTED_FOR_MESSAGE_FORMAT", fatal},
	ErrPolicyViolation:                        {"POLICY_VIOLATION", 0},
	ErrOutOfOrderSequenceNumber:               {"OUT_OF_ORDER_SEQUENCE_NUMBER", 0},
	ErrDuplicateSequenceNumber:                {"DUPLICATE_SEQUENCE_NUMBER", 0},
	ErrInvalidProducerEpoch:                   {"INVALID_PRODUCER_EPOCH", fatal},
	ErrInvalidTxnState:                        {"INVALID_TXN_STATE", fatal},
	ErrInvalidProducerIDMapping:               {"INVALID_PRODUCER_ID_MAPPING", fatal},
	ErrInvalidTransactionTimeout:              {"INVALID_TRANSACTION_TIMEOUT", fatal},
	ErrConcurrentTransactions:                 {"CONCURRENT_TRANSACTIONS", retriable},
	ErrTransactionCoordinatorFenced:           {"TRANSACTION_COORDINATOR_FENCED", fatal},
	ErrTransactionalIDAuthorizationFailed:     {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", fatal},
	ErrSecurityDisabled:                       {"SECURITY_DISABLED", fatal},
	ErrOperationNotAttempted:                  {"OPERATION_NOT_ATTEMPTED", 0},
	ErrKafkaStorageError:                      {"KAFKA_STORAGE_ERROR", retriable | stale},
	ErrLogDirNotFound:                         {"LOG_DIR_NOT_FOUND", 0},
	ErrSASLAuthenticationFailed:               {"SASL_AUTHENTICATION_FAILED", fatal},
	ErrUnknownProducerID:                      {"UNKNOWN_PRODUCER_ID", 0},
	ErrReassignmentInProgress:                 {"REASSIGNMENT_IN_PROGRESS", 0},
	ErrDelegationTokenAuthDisabled:            {"DELEGATION_TOKEN_AUTH_DISABLED", 0},
	ErrDelegationTokenNotFound:                {"DELEGATION_TOKEN_NOT_FOUND", 0},
	ErrDelegationTokenOwnerMismatch:           {"DELEGATION_TOKEN_OWNER_MISMATCH", 0},
	ErrDelegationTokenRequestNotAllowed:       {"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", 0},
	ErrDelegationTokenAuthorizationFailed:     {"DELEGATION_TOKEN_AUTHORIZATION_FAILED", 0},
	ErrDelegationTokenExpired:                 {"DELEGATION_TOKEN_EXPIRED", 0},
	ErrInvalidPrincipalType:                   {"INVALID_PRINCIPAL_TYPE", 0},
	ErrNonEmptyGroup:                          {"NON_EMPTY_GROUP", 0},
	ErrGroupIDNotFound:                        {"GROUP_ID_NOT_FOUND", 0},
	ErrFetchSessionIDNotFound:                 {"FETCH_SESSION_ID_NOT_FOUND", retriable},
	ErrInvalidFetchSessionEpoch:               {"INVALID_FETCH_SESSION_EPOCH", retriable},
	ErrListenerNotFound:                       {"LISTENER_NOT_FOUND", retriable | stale},
	ErrTopicDeletionDisabled:                  {"TOPIC_DELETION_DISABLED", 0},
	ErrFencedLeaderEpoch:                      {"FENCED_LEADER_EPOCH", retriable | stale},
	ErrUnknownLeaderEpoch:                     {"UNKNOWN_LEADER_EPOCH", retriable},
	ErrUnsupportedCompressionType:             {"UNSUPPORTED_COMPRESSION_TYPE", 0},
	ErrStaleBrokerEpoch:                       {"STALE_BROKER_EPOCH", 0},
	ErrOffsetNotAvailable:                     {"OFFSET_NOT_AVAILABLE", retriable},
	ErrMemberIDRequired:                       {"MEMBER_ID_REQUIRED", 0},
	ErrPreferredLeaderNotAvailable:            {"PREFERRED_LEADER_NOT_AVAILABLE", retriable | stale},
	ErrGroupMaxSizeReached:                    {"GROUP_MAX_SIZE_REACHED", fatal},
	ErrFencedInstanceID:                       {"FENCED_INSTANCE_ID", fatal},
	ErrEligibleLeadersNotAvailable:            {"ELIGIBLE_LEADERS_NOT_AVAILABLE", retriable | stale},
	ErrElectionNotNeeded:                      {"ELECTION_NOT_NEEDED", retriable | stale},
	ErrNoReassignmentInProgress:               {"NO_REASSIGNMENT_IN_PROGRESS", 0},
	ErrGroupSubscribedToTopic:                 {"GROUP_SUBSCRIBED_TO_TOPIC", 0},
	ErrInvalidRecord:                          {"INVALID_RECORD", 0},
	ErrUnstableOffsetCommit:                   {"UNSTABLE_OFFSET_COMMIT", retriable},
	ErrThrottlingQuotaExceeded:                {"THROTTLING_QUOTA_EXCEEDED", retriable},
	ErrProducerFenced:                         {"PRODUCER_FENCED", fatal},
	ErrResourceNotFound:                       {"RESOURCE_NOT_FOUND", 0},
	ErrDuplicateResource:                      {"DUPLICATE_RESOURCE", 0},
	ErrUnacceptableCredential:                 {"UNACCEPTABLE_CREDENTIAL", 0},
	ErrInconsistentVoterSet:                   {"INCONSISTENT_VOTER_SET", 0},
	ErrInvalidUpdateVersion:                   {"INVALID_UPDATE_VERSION", 0},
	ErrFeatureUpdateFailed:                    {"FEATURE_UPDATE_FAILED", 0},
	ErrPrincipalDeserializationFailure:        {"PRINCIPAL_DESERIALIZATION_FAILURE", 0},
	ErrSnapshotNotFound:                       {"SNAPSHOT_NOT_FOUND", 0},
	ErrPositionOutOfRange:                     {"POSITION_OUT_OF_RANGE", 0},
	ErrUnknownTopicID:                         {"UNKNOWN_TOPIC_ID", retriable | stale},
	ErrDuplicateBrokerRegistration:            {"DUPLICATE_BROKER_REGISTRATION", 0},
	ErrBrokerIDNotRegistered:                  {"BROKER_ID_NOT_REGISTERED", 0},
	ErrInconsistentTopicID:                    {"INCONSISTENT_TOPIC_ID", retriable | stale},
	ErrInconsistentClusterID:                  {"INCONSISTENT_CLUSTER_ID", 0},
	ErrTransactionalIDNotFound:                {"TRANSACTIONAL_ID_NOT_FOUND", 0},
	ErrFetchSessionTopicIDError:               {"FETCH_SESSION_TOPIC_ID_ERROR", retriable},
	ErrIneligibleReplica:                      {"INELIGIBLE_REPLICA", 0},
	ErrNewLeaderElected:                       {"NEW_LEADER_ELECTED", 0},
	ErrOffsetMovedToTieredStorage:             {"OFFSET_MOVED_TO_TIERED_STORAGE", 0},
	ErrFencedMemberEpoch:                      {"FENCED_MEMBER_EPOCH", 0},
	ErrUnreleasedInstanceID:                   {"UNRELEASED_INSTANCE_ID", 0},
	ErrUnsupportedAssignor:                    {"UNSUPPORTED_ASSIGNOR", fatal},
	ErrStaleMemberEpoch:                       {"STALE_MEMBER_EPOCH", 0},
	ErrMismatchedEndpointType:                 {"MISMATCHED_ENDPOINT_TYPE", 0},
	ErrUnsupportedEndpointType:                {"UNSUPPORTED_ENDPOINT_TYPE", 0},
	ErrUnknownControllerID:                    {"UNKNOWN_CONTROLLER_ID", 0},
	ErrUnknownSubscriptionID:                  {"UNKNOWN_SUBSCRIPTION_ID", 0},
	ErrTelemetryTooLarge:                      {"TELEMETRY_TOO_LARGE", 0},
	ErrInvalidRegistration:                    {"INVALID_REGISTRATION", 0},
	ErrTransactionAbortable:                   {"TRANSACTION_ABORTABLE", 0},
	ErrInvalidRecordState:                     {"INVALID_RECORD_STATE", 0},
	ErrShareSessionNotFound:                   {"SHARE_SESSION_NOT_FOUND", retriable},
	ErrInvalidShareSessionEpoch:               {"INVALID_SHARE_SESSION_EPOCH", retriable},
	ErrFencedStateEpoch:                       {"FENCED_STATE_EPOCH", 0},
	ErrInvalidVoterKey:                        {"INVALID_VOTER_KEY", 0},
	ErrDuplicateVoter:                         {"DUPLICATE_VOTER", 0},
	ErrVoterNotFound:                          {"VOTER_NOT_FOUND", 0},
	ErrInvalidRegularExpression:               {"INVALID_REGULAR_EXPRESSION", fatal},
	ErrRebootstrapRequired:                    {"REBOOTSTRAP_REQUIRED", 0},
	ErrStreamsInvalidTopology:                 {"STREAMS_INVALID_TOPOLOGY", fatal},
	ErrStreamsInvalidTopologyEpoch:            {"STREAMS_INVALID_TOPOLOGY_EPOCH", 0},
	ErrStreamsTopologyFenced:                  {"STREAMS_TOPOLOGY_FENCED", 0},
	ErrShareSessionLimitReached:               {"SHARE_SESSION_LIMIT_REACHED", retriable},
	ErrGroupDeletionFailed:                    {"GROUP_DELETION_FAILED", 0},
	ErrStreamsTopologyDescriptionUpdateFailed: {"STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", 0},
	ErrControllerIDNotRegistered:              {"CONTROLLER_ID_NOT_REGISTERED", 0},
}

func (e ErrorCode) marked(m mark) bool {
	return e > 0 && int(e) < len(errorTable) && errorTable[e].mark&m != 0
}

// String returns the name that Kafka's documentation uses, such as UNKNOWN_TOPIC_OR_PARTITION, or the number of a code
// that has none.
func (e ErrorCode) String() string {
	switch {
	case e == ErrUnknownServerError:
		return "UNKNOWN_SERVER_ERROR"
	case e == 0:
		return "NONE"
	case e > 0 && int(e) < len(errorTable):
		return errorTable[e].name
	}
	return "error code " + strconv.Itoa(int(e))
}

// Error returns the name.
func (e ErrorCode) Error() string { return "kafka: " + e.String() }

// Err returns nil for zero and e otherwise.
func (e ErrorCode) Err() error {
	if e == 0 {
		return nil
	}
	return e
}

// Retriable reports whether the same request can succeed later, perhaps at another broker.
func (e ErrorCode) Retriable() bool { return e.marked(retriable) }

// StaleMetadata reports whether the client should ask for metadata before it tries again.
func (e ErrorCode) StaleMetadata() bool { return e.marked(stale) }

// CoordinatorMoved reports whether the client should look for the coordinator before it tries again.
func (e ErrorCode) CoordinatorMoved() bool { return e.marked(moved) }

// Fatal reports whether the client that gets the code must give up: requests that follow will fail in the same way, since
// it is fenced, not allowed, or set up wrongly. Other codes that are not retriable are about one request only.
func (e ErrorCode) Fatal() bool { return e.marked(fatal) }
