package countersign.reversibility_test

import data.countersign.reversibility

config := {"reviewers": ["ann"], "refund_limit": 100, "confidence_floor": 0.6}

refund(amount) := {
	"call": {"server": "demo", "tool": "refund", "arguments": {"amount": amount}},
	"tool": {"tier": "medium", "reversible": false},
}

test_a_small_refund_passes if {
	count(reversibility.hold) == 0 with input as refund("100")
		with data.countersign_config as config
}

test_a_large_refund_is_held if {
	some reason in reversibility.hold with input as refund("100.01")
		with data.countersign_config as config
	reason.code == "refund_over_limit"
}

test_a_large_refund_is_tier_high if {
	reversibility.tier == "high" with input as refund("100.01")
		with data.countersign_config as config
}

test_what_cannot_be_undone_is_held if {
	some reason in reversibility.hold with input as {"tool": {"tier": "high", "reversible": false}}
		with data.countersign_config as config
	reason.code == "irreversible"
}

test_the_unsure_are_held if {
	some reason in reversibility.hold with input as {
		"tool": {"tier": "medium"},
		"claimed": {"confidence": 0.5},
	}
		with data.countersign_config as config
	reason.code == "low_confidence"
}
