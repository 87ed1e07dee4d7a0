package plan

import "fmt"

// The ids of tasks are spelled here only.

// CheckoutID is the id of the first task of every run.
const CheckoutID = "checkout"

// ReleaseID is the id of the gate between CI and CD.
const ReleaseID = "release"

// BuildID is the id of the task that builds a service.
func BuildID(service string) string { return "build/" + service }

// TestID is the id of one test of a service.
func TestID(service, test string) string { return "test/" + service + "/" + test }

// ShardID is the id of one of several tasks that share a test; shard counts from 1.
func ShardID(service, test string, shard, shards int) string {
	return fmt.Sprintf("%s/%dof%d", TestID(service, test), shard, shards)
}

// ScanID is the id of one scan of a service.
func ScanID(service, scan string) string { return "scan/" + service + "/" + scan }

// FindingsID is the id of the task that judges what the scans of a service found.
func FindingsID(service string) string { return "findings/" + service }

// SignID is the id of the task that signs the image of a service.
func SignID(service string) string { return "sign/" + service }

// RenderID is the id of the task that makes a service's manifests for a target.
func RenderID(service string, t Target) string { return "render/" + service + "@" + t.String() }

// ApplyID is the id of the task that applies a service to a target.
func ApplyID(service string, t Target) string { return "apply/" + service + "@" + t.String() }

// ShiftID is the id of the task that gives a service's candidate a part on a target.
func ShiftID(service string, t Target, percent int) string {
	return fmt.Sprintf("shift/%s@%s:%d", service, t, percent)
}

// AnalyzeID is the id of the task that watches a candidate after ShiftID.
func AnalyzeID(service string, t Target, percent int) string {
	return fmt.Sprintf("analyze/%s@%s:%d", service, t, percent)
}

// StepID is the id of the barrier behind a step in all clusters of a wave; no wave: of the environment.
func StepID(service, environment, wave string, percent int) string {
	if wave != "" {
		environment += "/" + wave
	}
	return fmt.Sprintf("step/%s@%s:%d", service, environment, percent)
}

// DiffID is the id of the task that compares a service with a target.
func DiffID(service string, t Target) string { return "diff/" + service + "@" + t.String() }

// RollbackID is the id of the compensation of ApplyID.
func RollbackID(service string, t Target) string { return "rollback/" + service + "@" + t.String() }

// CatchUpID is the id of what brings a release to a target that could not be reached.
func CatchUpID(service string, t Target) string { return "catchup/" + service + "@" + t.String() }

// ApproveID is the id of the task that waits for approvals before the rollout to an environment.
func ApproveID(environment string) string { return "approve/" + environment }

// RolloutID is the id of the task that begins the rollout to an environment.
func RolloutID(environment string) string { return "rollout/" + environment }

// PromoteID is the id of the task that makes a service's candidate stable in an environment.
func PromoteID(service, environment string) string { return "promote/" + service + "@" + environment }

// WaveID is the id of the barrier after a wave of an environment.
func WaveID(environment, wave string) string { return "wave/" + environment + "/" + wave }

// VerifiedID is the id of the barrier at the end of an environment.
func VerifiedID(environment string) string { return "verified/" + environment }

// String is "<environment>/<cluster>".
func (t Target) String() string { return t.Environment + "/" + t.Cluster }
