# What do the packages say together? The gate combines them by the same law in Rust and never asks
# this file; it is for tests under any OPA-compatible runner, and a property test holds the two
# equal. What fails to evaluate denies there, which Rego cannot say.
package countersign

import data.countersign.budget
import data.countersign.permission
import data.countersign.reversibility

decision := object.union(
	{
		"effect": effect,
		"reasons": reasons,
		"charges": {charge | some charge in budget.charge},
		"redact": {"arguments": redact("arguments"), "result": redact("result")},
		"warnings": warnings,
		"labels": labels,
	},
	object.union(tier, terms),
)

default effect := "deny"

effect := "hold" if {
	count(denials) == 0
	count(holds) > 0
}

effect := "allow" if {
	count(denials) == 0
	count(holds) == 0
	permission.allow == true
}

reasons := denials if count(denials) > 0

reasons := {reason(hold.element, hold.policy) | some hold in holds} if effect == "hold"

reasons := set() if effect == "allow"

reasons := {{"code": "default", "message": "no rule allows it", "policy": "permission"}} if {
	effect == "deny"
	count(denials) == 0
}

# What each rule says, with the package that says it.
said contains {"policy": "permission", "rule": "deny", "element": element} if {
	some element in permission.deny
}

said contains {"policy": "budget", "rule": "deny", "element": element} if {
	some element in budget.deny
}

said contains {"policy": "reversibility", "rule": "deny", "element": element} if {
	some element in reversibility.deny
}

said contains {"policy": "budget", "rule": "hold", "element": element} if {
	some element in budget.hold
}

said contains {"policy": "reversibility", "rule": "hold", "element": element} if {
	some element in reversibility.hold
}

said contains {"policy": "permission", "rule": "warn", "element": element} if {
	some element in permission.warn
}

said contains {"policy": "budget", "rule": "warn", "element": element} if {
	some element in budget.warn
}

said contains {"policy": "reversibility", "rule": "warn", "element": element} if {
	some element in reversibility.warn
}

mode(element) := object.get(element, "mode", "enforce")

reason(element, policy) := {
	"code": element.code,
	"message": element.message,
	"policy": policy,
}

denials contains reason(one.element, one.policy) if {
	some one in said
	one.rule == "deny"
	mode(one.element) == "enforce"
}

holds contains one if {
	some one in said
	one.rule == "hold"
	mode(one.element) == "enforce"
}

warnings contains reason(one.element, one.policy) if {
	some one in said
	one.rule == "warn"
}

warnings contains reason(one.element, one.policy) if {
	some one in said
	mode(one.element) == "warn"
}

# The highest tier.
ranks := {"low": 1, "medium": 2, "high": 3}

tiers contains reversibility.tier

tiers contains name if {
	some hold in holds
	name := hold.element.tier
}

default tier := {}

tier := {"tier": name} if {
	some name in tiers
	every other in tiers {
		ranks[name] >= ranks[other]
	}
}

# The union of what the holds ask for.
default terms := {}

terms := {"hold": object.union_n([asked, expiry, opens, closes])} if effect == "hold"

asked := {
	"reviewers": {reviewer | some hold in holds; some reviewer in hold.element.reviewers},
	"approvals": max({object.get(hold.element, "approvals", 1) | some hold in holds}),
	"justification": justified,
}

default justified := false

justified if {
	some hold in holds
	hold.element.justification == true
}

default expiry := {}

expiry := {"expires_in": min(times)} if count(times) > 0

# In nanoseconds.
times := {time.parse_duration_ns(hold.element.expires_in) | some hold in holds}

default opens := {}

opens := {"not_before": max(froms)} if count(froms) > 0

# In nanoseconds since 1970.
froms := {time.parse_rfc3339_ns(hold.element.not_before) | some hold in holds}

default closes := {}

closes := {"not_after": min(ends)} if count(ends) > 0

ends := {time.parse_rfc3339_ns(hold.element.not_after) | some hold in holds}

redact(part) := {place |
	some redaction in redactions
	some place in redaction[part]
}

redactions contains permission.redact

redactions contains budget.redact

redactions contains reversibility.redact

labels := object.union_n([part | some part in label_set])

label_set contains permission.labels

label_set contains budget.labels

label_set contains reversibility.labels
