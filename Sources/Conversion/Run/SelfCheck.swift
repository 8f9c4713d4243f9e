public import ByteIO
public import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// Reads back what was written, with the same reader that opens anybody's checkpoint, and proves it: exact copies byte by
/// byte in canonical order, whatever the layouts, conversions and quantized tensors value by value against the source within
/// the rounding bound of their type, blocks against what the quantizer gave. The same pass computes the output's digests.
public struct SelfCheck: Sendable {
  /// Of the output as it was read back.
  public let output: Checkpoint
  public let digest: ModelDigest
  /// Tensors whose equality with the input was proven byte by byte.
  public let provenEqual: Int
  /// Tensors checked value by value.
  public let checkedValues: Int
  /// Sums of staged files that there was time for beside the tensors.
  let outputSums: [FileSum: String]

  /// - Throws: `ConversionFailure` of kind `.selfCheck` naming the tensor when something is not as it should be.
  public init(
    _ run: ConversionRun, interruption: Interruption = Interruption(),
    progress: @escaping ConversionRun.Progress = { _, _ in }
  ) throws {
    let plan = run.plan
    try Self.checkFiles(run)
    let output = try Self.open(run.staging.path)
    guard output.tensors.map(\.role) == plan.steps.map(\.input.role) else {
      throw ConversionFailure(.selfCheck, "\(run.staging.path): the output does not hold the planned tensors")
    }
    let counter = ByteCounter(total: plan.outputByteCount, progress: progress)
    let checks = zip(zip(plan.steps, output.tensors), run.checksums).map {
      ValueCheck(step: $0.0, written: $0.1, checksums: $1)
    }
    for (check, statistics) in zip(checks, run.statistics) {
      try check.checkForm()
      try check.checkCompanions()
      try check.checkLikeness(statistics)
    }
    let outputSums = Mutex<[FileSum: String]>([:])
    let hasFailed = Atomic<Bool>(false)
    let digest = try Self.readingBack {
      let digest = try output.digest(threads: plan.options.threads) { bytes in
        try interruption.check()
        counter.add(bytes)
      } rowsPerVisit: {
        checks[$0].rowsPerVisit
      } beside: { isBusy in
        let sums = try FileSum.compute(EvidenceSums.ofOutput(run), while: isBusy) {
          hasFailed.load(ordering: .relaxed)
        } check: {
          try interruption.check()
        }
        outputSums.withLock { $0 = sums }
      } visit: { tensor, rows, bytes in
        do { try checks[tensor].check(bytes.span, rows: rows) } catch {
          hasFailed.store(true, ordering: .relaxed)
          throw error
        }
      }
      try output.proveIntegrity()
      return digest
    }
    try Parallel.forEach(count: checks.count, threads: plan.options.threads) { index in
      try checks[index].checkCarriedQuantization(digest.tensors[index])
    }
    try Self.checkIdentity(run, output, digest)
    self.output = output
    self.digest = digest
    self.outputSums = outputSums.withLock { $0 }
    provenEqual = plan.steps.filter { $0.operation.isExact }.count
    checkedValues = plan.steps.count - provenEqual
  }

  /// Configuration and tokenizer are the input's, in whatever form.
  private static func checkIdentity(_ run: ConversionRun, _ output: Checkpoint, _ digest: ModelDigest) throws {
    guard run.plan.input.configuration.canonicalText == output.configuration.canonicalText else {
      throw ConversionFailure(
        .selfCheck, "\(output.path): as written, it is read with another configuration than the input's")
    }
    if run.plan.input.hasTokenizerKeys(of: output) { return }
    guard let before = try run.tokenizerDigest ?? run.plan.input.tokenizerDigest() else { return }
    guard let after = digest.tokenizer else { return }
    guard before == after else {
      throw ConversionFailure(.selfCheck, "\(output.path): as written, its tokenizer is another than the input's")
    }
  }

  /// What our own reader makes of the output. What it would call bad input is our fault here.
  private static func open(_ path: String) throws -> Checkpoint { try readingBack { try Checkpoint(path: path) } }

  private static func readingBack<Result>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let failure as ParseFailure {
      throw ConversionFailure(.selfCheck, "what was written cannot be read back: \(failure)")
    }
  }

  /// The files are those planned, and all bytes that were known before are there: headers, documents, carried files.
  private static func checkFiles(_ run: ConversionRun) throws {
    let plan = run.plan
    let planned = plan.output.files.map(\.name) + plan.documents.map(\.name) + plan.sidecars.map(\.name)
    let found = try FileSystem.names(in: run.staging.path)
    for name in planned where !found.contains(name) { throw failure(run.staging.file(name), "is missing") }
    for name in found where !planned.contains(name) { throw failure(run.staging.file(name), "was not planned") }
    for planned in plan.output.files {
      let file = try ReadableFile(path: run.staging.file(planned.name))
      guard file.byteCount == planned.byteCount || !planned.isExact && file.byteCount < planned.byteCount else {
        throw failure(file.path, "has \(file.byteCount) bytes, \(planned.byteCount) were planned")
      }
    }
    if let (file, fault) = try plan.output.firstFault(
      in: run.staging.path, inputDigest: run.inputDigest)
    {
      throw failure(file, fault)
    }
    for document in plan.documents {
      let path = run.staging.file(document.name)
      guard try SHA256Sum.hexadecimal(ofFile: path) == SHA256Sum.hexadecimal(of: document.bytes) else {
        throw failure(path, "is not what was planned")
      }
    }
    for sidecar in plan.sidecars {
      let path = run.staging.file(sidecar.name)
      guard try SHA256Sum.hexadecimal(ofFile: path) == sidecar.sha256() else {
        throw failure(path, "differs from the file that was copied")
      }
    }
  }

  private static func failure(_ path: String, _ text: String) -> ConversionFailure {
    ConversionFailure(.selfCheck, "\(path): as written, it \(text); the disk or this program is at fault")
  }
}
