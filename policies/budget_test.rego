package countersign.budget_test

import data.countersign.budget

refund(amount, remaining) := {
	"call": {"server": "demo", "tool": "refund", "arguments": {"amount": amount}},
	"budgets": {"usd-per-day": {"remaining": remaining}},
}

test_a_refund_is_charged if {
	budget.charge == {{"budget": "usd-per-day", "amount": "12.50"}} with input as refund("12.50", "20")
	count(budget.deny) == 0 with input as refund("12.50", "20")
}

test_more_than_is_left_is_denied if {
	some reason in budget.deny with input as refund("12.50", "12.49")
	reason.code == "budget_exhausted"
}

test_what_is_no_amount_is_denied if {
	some reason in budget.deny with input as refund("-1", "20")
	reason.code == "amount_not_valid"
}

test_other_tools_cost_nothing if {
	count(budget.charge) == 0 with input as {"call": {"server": "demo", "tool": "read_file"}}
}
