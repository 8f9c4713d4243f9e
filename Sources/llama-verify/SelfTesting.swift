internal import ArgumentParser
internal import ByteIO
internal import Checkpoints
internal import CommandLineSupport
internal import Verification

/// `llama-verify --self-test MODEL`
extension Verify {
  func validateSelfTest() throws {
    guard candidates.isEmpty, chat == nil, report == nil, imatrix == nil, emulate == nil, rule == .windows,
      !eachItsOwnTokenizer, part == nil, evidence == nil, !untilDecided, !bisect
    else {
      throw ValidationError(
        "--self-test takes one model, and of the options only --text, --context, --tokens, --policy and --compute")
    }
    guard context ?? SelfTest.defaultContext >= 3 else { throw ValidationError("--context must be at least 3") }
  }

  func runSelfTest(_ policy: Policy, _ console: Console, _ interruption: Interruption) throws {
    let line = ProgressLine(console: console)
    defer { line.finish() }
    let model = try Checkpoint(path: base)
    for note in model.notes { console.remark("warning: \(note)") }
    let test = SelfTest(
      model: model, textPath: text, policy: policy, context: context ?? SelfTest.defaultContext, tokenLimit: tokens,
      compute: compute, threads: shared.threads, maximumMemory: shared.maximumMemory.bytes)
    let result = try test.run(check: { try interruption.check() }) {
      line.update("self-test", done: $0, total: $1, unit: .layers)
    }
    line.finish()
    try console.result(shared.json ? result.document.serialized() : result.summary)
    if !result.passed { throw ExitCodeCarrier(.gateFailed) }
  }
}
