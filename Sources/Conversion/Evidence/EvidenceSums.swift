internal import ByteIO
internal import Checkpoints

/// The sums of all files read and written, computed together so that threads are busy to the end, and what they prove: the
/// sums that came with the input.
struct EvidenceSums {
  /// In the order in which the input lists its files; no sums where none were asked for.
  let input: [(name: String, sha256: String?)]
  /// Of all staged files so far; nil where none were asked for.
  let output: [(name: String, sha256: String)]?
  /// For Meta directories, what goes into `checklist.chk`.
  let checklist: Checklist?

  /// Sums of the input that agree with what came with it, by who said them.
  let verified: [(source: String, files: Int)]

  /// All that is known to be asked for of the input: what can be computed while it is read.
  static func besideTheRun(_ plan: ConversionPlan) throws -> [FileSum] { ofInput(plan, try expected(plan)) }

  /// What the record asks for, and what is compared.
  private static func ofInput(_ plan: ConversionPlan, _ expected: [ExpectedSum]) -> [FileSum] {
    var sums = ofInput(plan)
    for sum in expected.map({ FileSum($0.kind, ofFile: plan.input.directory + "/" + $0.fileName) })
    where !sums.contains(sum) {
      sums.append(sum)
    }
    return sums
  }

  /// The sums that came with the input; none where they are not to be checked.
  private static func expected(_ plan: ConversionPlan) throws -> [ExpectedSum] {
    plan.options.checksSums ? try plan.input.expectedSums() : []
  }

  /// What the record asks for, as far as the input goes.
  static func ofInput(_ plan: ConversionPlan) -> [FileSum] {
    plan.options.sumsFiles
      ? plan.input.readFileNames.map { FileSum(.sha256, ofFile: plan.input.directory + "/" + $0) } : []
  }

  /// Completes the sums of the input's files for an output that says what it was made from: SHA-256 over lines `SHA256  NAME`
  /// in the order of the names' bytes.
  /// - Returns: what is known then, and the digest; nil for other outputs, and where no sums are taken.
  static func inputDigest(
    _ plan: ConversionPlan, known: [FileSum: String]
  ) throws -> (sums: [FileSum: String], digest: String?) {
    let all = ofInput(plan)
    guard plan.output.recordsInput, !all.isEmpty else { return (known, nil) }
    let missing = all.filter { known[$0] == nil }
    let found = zip(missing, try FileSum.compute(missing, threads: plan.options.threads))
    let sums = known.merging(found) { first, _ in first }
    let lines = all.map { (name: FileSystem.lastComponent(of: $0.path), sha256: sums[$0] ?? "") }
    var digest = SHA256Sum()
    for line in lines.sorted(by: { UTF8Key($0.name) < UTF8Key($1.name) }) {
      digest.update("\(line.sha256)  \(line.name)\n")
    }
    return (sums, digest.hexadecimal())
  }

  /// The same of the planned files, which stay as they are from the self-check on.
  static func ofOutput(_ run: ConversionRun) -> [FileSum] {
    run.plan.options.sumsFiles
      ? run.plan.output.files.map { FileSum(.sha256, ofFile: run.staging.file($0.name)) } : []
  }

  /// - Throws: `ParseFailure` for an input file whose MD5 is another than its checklist says, `FileFailure`.
  init(_ run: ConversionRun, _ check: SelfCheck) throws {
    let plan = run.plan
    let outputNames = try FileSystem.names(in: run.staging.path)
    let expected = try Self.expected(plan)
    let wanted = plan.options.sumsFiles
    let listing = wanted && plan.layout == .meta ? outputNames.filter(Self.isListed) : []
    func path(_ name: String) -> String { plan.input.directory + "/" + name }
    let known = run.inputSums.merging(check.outputSums) { first, _ in first }
    let sums =
      Self.ofInput(plan, expected).filter { known[$0] == nil }
      + (wanted ? outputNames.map { FileSum(.sha256, ofFile: run.staging.file($0)) } : []).filter { known[$0] == nil }
      + listing.map { FileSum(.md5, ofFile: run.staging.file($0)) }
    let found = known.merging(
      zip(sums, try FileSum.compute(sums, threads: plan.options.threads)), uniquingKeysWith: { first, _ in first })
    func sum(_ kind: FileSum.Kind, _ path: String) -> String { found[FileSum(kind, ofFile: path)] ?? "" }
    for entry in expected { try plan.input.check(entry, found: sum(entry.kind, path(entry.fileName))) }
    var sources: [(source: String, files: Int)] = []
    for entry in expected {
      if let index = sources.firstIndex(where: { $0.source == entry.source }) {
        sources[index].files += 1
      } else {
        sources.append((entry.source, 1))
      }
    }
    verified = sources
    input = plan.input.readFileNames.map { ($0, found[FileSum(.sha256, ofFile: path($0))]) }
    output = wanted ? outputNames.map { ($0, sum(.sha256, run.staging.file($0))) } : nil
    checklist =
      listing.isEmpty ? nil : Checklist(listing.map { .init(name: $0, md5: sum(.md5, run.staging.file($0))) })
  }

  /// What Meta's own lists have: weights, scales, parameters, tokenizer.
  private static func isListed(_ name: String) -> Bool {
    name.hasSuffix(".pth") || name.hasSuffix(".pt") || name == "params.json" || name == "tokenizer.model"
  }
}
