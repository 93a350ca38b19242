package countersign_test

import data.countersign

one := {{"code": "c", "message": "m"}}

test_any_deny_denies if {
	countersign.decision.effect == "deny" with data.countersign.permission as {"allow": true}
		with data.countersign.budget as {"deny": one}
		with data.countersign.reversibility as {"hold": one}
}

test_else_any_hold_holds if {
	countersign.decision.effect == "hold" with data.countersign.permission as {"allow": true}
		with data.countersign.budget as {}
		with data.countersign.reversibility as {"hold": one}
}

test_else_allow_has_to_be_true if {
	countersign.decision.effect == "allow" with data.countersign.permission as {"allow": true}
		with data.countersign.budget as {}
		with data.countersign.reversibility as {}
}

test_default_is_deny if {
	countersign.decision.effect == "deny" with data.countersign.permission as {}
		with data.countersign.budget as {}
		with data.countersign.reversibility as {}
}
