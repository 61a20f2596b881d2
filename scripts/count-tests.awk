# Reads what `cargo test` printed; prints how many tests of each kind passed and failed, and at last the sums on a line of
# their own. Fails if a test failed, was ignored, or none ran at all.
#
# Variables: network (names of the test programs that drive real clients and servers), status (cargo's exit code), seconds.
BEGIN {
  n = split("unit integration doc network", kinds, " ")
  m = split(network, names, " ")
  for (i = 1; i <= m; i++) is_network[names[i]] = 1
}
# Running unittests src/lib.rs (target/debug/deps/net-0123456789abcdef)
/^ *Running unittests / { kind = "unit" }
# Running tests/cli.rs (target/debug/deps/cli-0123456789abcdef)
/^ *Running tests\// {
  name = $2
  sub(/^tests\//, "", name)
  sub(/(\/main)?\.rs$/, "", name)
  kind = (name in is_network) ? "network" : "integration"
}
/^ *Doc-tests / { kind = "doc" }
# test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.09s
/^test result: / {
  for (i = 1; i <= NF; i++) {
    if ($i == "passed;") passed[kind] += $(i - 1)
    if ($i == "failed;") failed[kind] += $(i - 1)
    if ($i == "ignored;") ignored[kind] += $(i - 1)
  }
}
# A test program that dies (abort, out of memory) prints no result.
/^error: test failed, to rerun pass / { rerun[++reruns] = $0 }
/process didn't exit successfully/ { died++ }
END {
  print ""
  for (i = 1; i <= n; i++) {
    k = kinds[i]
    printf "%-12s %6d passed, %d failed", k, passed[k], failed[k]
    if (ignored[k]) printf ", %d ignored", ignored[k]
    print ""
    all_passed += passed[k]; all_failed += failed[k]; all_ignored += ignored[k]
  }
  printf "in %d min %d s\n", int(seconds / 60), seconds % 60
  for (i = 1; i <= reruns; i++) print rerun[i]
  if (all_ignored) print "Ignored tests count as failures: every test runs."
  # Whatever made cargo fail without a failed test (a test program that died, code that does not compile) is a failure too.
  if (status != 0 && all_failed == 0) { print "cargo test failed without a failed test; see above."; all_failed = 1 }
  all_failed += all_ignored
  printf "%d passed, %d failed\n", all_passed, all_failed
  exit (all_failed > 0 || all_passed == 0)
}
