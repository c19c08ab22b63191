package kafka

import (
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ACL is an access control entry: it allows or denies a principal an operation on resources.
type ACL struct {
	Resource ResourceType
	// Name is the name of a resource, a prefix of names, or "*" for all of the type, see Pattern.
	Name    string
	Pattern PatternType
	// Principal is whom it is about: "Type:Name", such as "User:alice", or "User:*" for everybody.
	Principal string
	// Host is the IP address from which the principal connects, or "*" for every one.
	Host       string
	Operation  ACLOperation
	Permission ACLPermission
}

// ResourceType is a type of what ACLs are about.
type ResourceType int8

// The types of resources. ResourceAny is for filters.
const (
	ResourceUnknown         ResourceType = 0
	ResourceAny             ResourceType = 1
	ResourceTopic           ResourceType = 2
	ResourceGroup           ResourceType = 3
	ResourceCluster         ResourceType = 4
	ResourceTransactionalID ResourceType = 5
	ResourceDelegationToken ResourceType = 6
	ResourceUser            ResourceType = 7
)

// ClusterName is the name of the only resource of type cluster.
const ClusterName = "kafka-cluster"

// PatternType says how an ACL or a filter names resources.
type PatternType int8

// The types of patterns. PatternAny and PatternMatch are for filters.
const (
	PatternUnknown PatternType = 0
	// PatternAny finds ACLs whose name is that of the filter, whatever their pattern is.
	PatternAny PatternType = 1
	// PatternMatch finds ACLs that are about a resource with the name of the filter.
	PatternMatch PatternType = 2
	// PatternLiteral is one name, or "*" for all.
	PatternLiteral PatternType = 3
	// PatternPrefixed is all names that begin so.
	PatternPrefixed PatternType = 4
)

// ACLOperation is what somebody wants to do with a resource.
type ACLOperation int8

// The operations. OperationAny is for filters.
const (
	OperationUnknown         ACLOperation = 0
	OperationAny             ACLOperation = 1
	OperationAll             ACLOperation = 2
	OperationRead            ACLOperation = 3
	OperationWrite           ACLOperation = 4
	OperationCreate          ACLOperation = 5
	OperationDelete          ACLOperation = 6
	OperationAlter           ACLOperation = 7
	OperationDescribe        ACLOperation = 8
	OperationClusterAction   ACLOperation = 9
	OperationDescribeConfigs ACLOperation = 10
	OperationAlterConfigs    ACLOperation = 11
	OperationIdempotentWrite ACLOperation = 12
	OperationCreateTokens    ACLOperation = 13
	OperationDescribeTokens  ACLOperation = 14
	OperationTwoPhaseCommit  ACLOperation = 15
)

// ACLPermission says what an ACL does.
type ACLPermission int8

// The permissions. PermissionAny is for filters.
const (
	PermissionUnknown ACLPermission = 0
	PermissionAny     ACLPermission = 1
	// PermissionDeny takes precedence over PermissionAllow.
	PermissionDeny  ACLPermission = 2
	PermissionAllow ACLPermission = 3
)

// The names are those of Kafka's tools.
var (
	resourceNames   = [...]string{"UNKNOWN", "ANY", "TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN", "USER"}
	patternNames    = [...]string{"UNKNOWN", "ANY", "MATCH", "LITERAL", "PREFIXED"}
	operationNames  = [...]string{"UNKNOWN", "ANY", "ALL", "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "IDEMPOTENT_WRITE", "CREATE_TOKENS", "DESCRIBE_TOKENS", "TWO_PHASE_COMMIT"}
	permissionNames = [...]string{"UNKNOWN", "ANY", "DENY", "ALLOW"}
)

func nameOf(names []string, i int8) string {
	if i < 0 || int(i) >= len(names) {
		return strconv.Itoa(int(i))
	}
	return names[i]
}

// String returns Kafka's name, such as "TOPIC".
func (t ResourceType) String() string { return nameOf(resourceNames[:], int8(t)) }

// String returns Kafka's name, such as "LITERAL".
func (t PatternType) String() string { return nameOf(patternNames[:], int8(t)) }

// String returns Kafka's name, such as "READ".
func (o ACLOperation) String() string { return nameOf(operationNames[:], int8(o)) }

// String returns Kafka's name, such as "ALLOW".
func (p ACLPermission) String() string { return nameOf(permissionNames[:], int8(p)) }

// String returns the ACL for people.
func (a ACL) String() string {
	return a.Permission.String() + " " + a.Principal + " from " + a.Host + ": " + a.Operation.String() + " on " + a.Resource.String() + " " +
		a.Pattern.String() + " " + strconv.Quote(a.Name)
}

// Validate returns an [*Error] with INVALID_REQUEST for an ACL that cannot be: with an empty name, without a type before the
// name of the principal, or with values that are unknown or for filters.
func (a ACL) Validate() error {
	kind, _, ok := strings.Cut(a.Principal, ":")
	switch {
	case a.Resource <= ResourceAny || a.Resource > ResourceUser:
		return badACL("its type of resource is " + a.Resource.String())
	case a.Pattern != PatternLiteral && a.Pattern != PatternPrefixed:
		return badACL("its type of pattern is " + a.Pattern.String())
	case a.Operation <= OperationAny || a.Operation > OperationTwoPhaseCommit:
		return badACL("its operation is " + a.Operation.String())
	case a.Permission != PermissionAllow && a.Permission != PermissionDeny:
		return badACL("its permission is " + a.Permission.String())
	case a.Name == "":
		return badACL("it has no name of a resource")
	case a.Resource == ResourceCluster && a.Name != ClusterName && (a.Name != "*" || a.Pattern != PatternLiteral):
		return badACL("the only cluster is " + ClusterName)
	case !ok || kind == "":
		return badACL("its principal has no type")
	case a.Host == "":
		return badACL("it has no host")
	}
	return nil
}

func badACL(why string) error {
	return &Error{Code: kafkawire.ErrInvalidRequest, Text: "an ACL is not valid: " + why}
}

// about reports whether an ACL is about a resource of its type.
func (a *ACL) about(name string) bool {
	if a.Pattern == PatternPrefixed {
		return strings.HasPrefix(name, a.Name)
	}
	return a.Name == name || a.Name == "*"
}

// ACLFilter finds ACLs. Its zero value finds none: the types must be set, to those for any perhaps.
type ACLFilter struct {
	Resource ResourceType
	// Name is the name that Pattern is about; nil is any.
	Name    *string
	Pattern PatternType
	// Principal and Host must be equal; nil is any.
	Principal  *string
	Host       *string
	Operation  ACLOperation
	Permission ACLPermission
}

// AnyACL is a filter that finds all ACLs.
func AnyACL() ACLFilter {
	return ACLFilter{Resource: ResourceAny, Pattern: PatternAny, Operation: OperationAny, Permission: PermissionAny}
}

// Validate returns an [*Error] with INVALID_REQUEST for a filter that has unknown values.
func (f *ACLFilter) Validate() error {
	if f.Resource <= ResourceUnknown || f.Resource > ResourceUser || f.Pattern <= PatternUnknown || f.Pattern > PatternPrefixed ||
		f.Operation <= OperationUnknown || f.Operation > OperationTwoPhaseCommit ||
		f.Permission <= PermissionUnknown || f.Permission > PermissionAllow {
		return &Error{Code: kafkawire.ErrInvalidRequest, Text: "a filter of ACLs has unknown values"}
	}
	return nil
}

// Matches reports whether the filter finds an ACL.
func (f *ACLFilter) Matches(a ACL) bool {
	return (f.Resource == ResourceAny || f.Resource == a.Resource) &&
		(f.Principal == nil || *f.Principal == a.Principal) &&
		(f.Host == nil || *f.Host == a.Host) &&
		(f.Operation == OperationAny || f.Operation == a.Operation) &&
		(f.Permission == PermissionAny || f.Permission == a.Permission) &&
		f.matchesName(&a)
}

func (f *ACLFilter) matchesName(a *ACL) bool {
	switch f.Pattern {
	case PatternAny, a.Pattern:
		return f.Name == nil || *f.Name == a.Name
	case PatternMatch:
		return f.Name == nil || a.about(*f.Name)
	}
	return false
}
