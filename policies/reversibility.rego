# Can it be undone? What cannot, and is large, waits for a signature.
package countersign.reversibility

import data.countersign_config as config

hold contains {
	"code": "irreversible",
	"message": "calls of tier high that cannot be undone need a signature",
	"reviewers": config.reviewers,
	"justification": true,
} if {
	input.tool.tier == "high"
	not input.tool.reversible
}

# An example of a rule on arguments. What is not clearly small is large.
large_refund if {
	input.call.server == "demo"
	input.call.tool == "refund"
	not small(input.call.arguments.amount)
}

small(amount) if {
	decimal(amount)
	to_number(amount) <= config.refund_limit
}

# No regular expression: this is asked in each decision on money.
decimal(text) if {
	is_string(text)
	trim(text, "0123456789.") == ""
	count(split(text, ".")) <= 2
	not startswith(text, ".")
	not endswith(text, ".")
	text != ""
}

tier := "high" if large_refund

hold contains {
	"code": "refund_over_limit",
	"message": sprintf("refunds over %v USD need a signature", [config.refund_limit]),
	"reviewers": config.reviewers,
} if {
	large_refund
}

hold contains {
	"code": "low_confidence",
	"message": "the agent is not sure enough of this to act alone",
	"reviewers": config.reviewers,
} if {
	input.tool.tier != "low"
	input.claimed.confidence < config.confidence_floor
}
