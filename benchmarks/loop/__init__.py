"""The whole loop over eight weeks of real flights: detector, rules, decision, flows, gate and re-base."""
