public import ByteIO
internal import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// The record of a conversion: what was made from what, how, and what was proven. It holds no times, hosts or absolute
/// paths, so that equal conversions give equal directories.
public struct ConversionRecord: Sendable {
  static let recordName = "llama-convert.json"
  static let checksumsName = "SHA256SUMS"
  /// What they are called beside a single file, behind its name.
  static let recordSuffix = "." + recordName
  static let sumSuffix = ".sha256"

  private let run: ConversionRun
  private let check: SelfCheck
  private let verification: Verification?
  private let sums: EvidenceSums
  /// Of all files but record and sums.
  private let writtenByteCount: UInt64
  /// The record, schema `llama-convert/1`.
  public let document: JSONValue

  /// What a verification before publication found.
  public struct Verification: Sendable {
    /// For the record.
    let entry: JSONValue
    /// For the summary.
    let line: String

    public init(entry: JSONValue, line: String) {
      self.entry = entry
      self.line = line
    }
  }

  public init(_ run: ConversionRun, _ check: SelfCheck, verification: Verification?) throws {
    self.run = run
    self.check = check
    self.verification = verification
    writtenByteCount = try FileSystem.names(in: run.staging.path).reduce(0) {
      try $0 + ReadableFile(path: run.staging.file($1)).byteCount
    }
    var record = JSONObject()
    record["schema"] = "llama-convert/1"
    record["tool"] = ["name": .string(Toolkit.name), "version": .string(Toolkit.version)]
    record["options"] = Self.options(run.plan.options)
    record["plan_sha256"] = .string(run.plan.digest)
    sums = try EvidenceSums(run, check)
    record["input"] = try Self.input(run.plan, sums)
    record["output"] = [
      "layout": .string(run.plan.layout.rawValue),
      "model_digest": .string(check.digest.model),
      "configuration_digest": .string(check.digest.configuration),
      "tokenizer_digest": check.digest.tokenizer.map { .string($0) } ?? .null,
    ]
    record["tensors"] = .array(Self.tensors(run, check))
    record["self_check"] = [
      "proven_equal": .number(JSONNumber(check.provenEqual)),
      "checked_value_by_value": .number(JSONNumber(check.checkedValues)),
    ]
    if let types = run.plan.options.types { record["types"] = types.document }
    if let facts = run.plan.calibrationFacts { record["calibration"] = facts }
    if let verification { record["verification"] = verification.entry }
    document = .object(record)
  }

  /// Writes record and checksums into the staging directory and gives it its final name. Who is cut off while names are given
  /// is followed by ``finishPublication(of:journal:)``.
  /// - Throws: `ParseFailure` when the input is no longer what was opened; `FileFailure`.
  public func publish(replacing: Bool) throws {
    let staging = run.staging
    try run.waitForDisk()
    try run.plan.input.checkUnchanged()
    try FileSystem.write(Array(document.serialized().utf8), toNew: staging.file(Self.recordName))
    if var lines = sums.output {
      for (name, text) in [(Self.recordName, nil), (Checklist.fileName, sums.checklist?.text)]
      where name == Self.recordName || text != nil {
        if let text { try FileSystem.write(Array(text.utf8), toNew: staging.file(name)) }
        lines.append((name, try FileSum(.sha256, ofFile: staging.file(name)).compute()))
      }
      // Beside a single file, only that file is checked: others may come to lie there.
      if run.plan.isSingleFile { lines.removeAll { $0.name != FileSystem.lastComponent(of: run.plan.outputPath) } }
      let text = lines.sorted { $0.name < $1.name }.map { "\($0.sha256)  \($0.name)\n" }.joined()
      try FileSystem.write(Array(text.utf8), toNew: staging.file(Self.checksumsName))
    }
    let path = run.plan.outputPath
    let name = FileSystem.lastComponent(of: path)
    let files = run.plan.isSingleFile ? [(staged: name, name: name)] + evidence.map { ($0.staged, $0.published) } : []
    try run.workspace.publish(
      files: files, outdated: run.plan.evidencePaths.map { FileSystem.lastComponent(of: $0) }, replacing: replacing,
      summary: summary)
  }

  /// Gives the names that an earlier run of the same command could not give any more, though all was proven.
  /// - Returns: what it would have printed: its summary, and the record; nil when there is nothing of the kind.
  public static func finishPublication(
    of plan: ConversionPlan, journal settings: JournalSettings
  ) throws -> (summary: String, record: String)? {
    guard let summary = try Workspace.completePublication(of: plan, settings),
      let record = try publishedRecord(of: plan.outputPath)
    else { return nil }
    return (summary, record)
  }

  /// The record of a published output, as it stands in the file; nil when there is none.
  public static func publishedRecord(of output: String) throws -> String? {
    for path in [output + "/" + recordName, output + recordSuffix] where try FileSystem.kind(of: path) == .file {
      return String(decoding: try ReadableFile.contents(of: path, limit: 1 << 30), as: UTF8.self)
    }
    return nil
  }

  /// The record and the sums, staged and as they are called when published.
  private var evidence: [(staged: String, published: String)] {
    let plan = run.plan
    let name = FileSystem.lastComponent(of: plan.outputPath)
    let record = (Self.recordName, plan.isSingleFile ? name + Self.recordSuffix : Self.recordName)
    guard plan.options.sumsFiles else { return [record] }
    return [record, (Self.checksumsName, plan.isSingleFile ? name + Self.sumSuffix : Self.checksumsName)]
  }

  static func options(_ options: ConversionOptions) -> JSONValue {
    [
      "to": .string(options.target.description),
      "format": .string(options.layout?.rawValue ?? "unchanged"),
      "compress": .bool(options.compresses),
      "allow_requantize": .bool(options.allowsRequantizing),
      "check_sums": .bool(options.checksSums),
      "tensor_parallel": options.tensorParallel.map { .number(JSONNumber($0)) } ?? .null,
      "ignore": .array(options.ignore.map { .string($0) }),
      "only": .array(options.only.map { .string($0) }),
      "max_shard_size": options.maximumShardSize.map { .number(JSONNumber($0)) } ?? .null,
      "max_shard_tensors": options.maximumShardTensors.map { .number(JSONNumber($0)) } ?? .null,
      "importance_matrix": options.importance.map { ["name": .string($0.name), "sha256": .string($0.sha256)] } ?? .null,
      "tensor_types": .array(options.tensorTypes.map { .string("\($0.pattern)=\($0.type)") }),
    ]
  }

  private static func input(_ plan: ConversionPlan, _ sums: EvidenceSums) throws -> JSONValue {
    let input = plan.input
    let files = try sums.input.map { name, sha256 -> JSONValue in
      let size = try ReadableFile(path: input.directory + "/" + name).byteCount
      return ["name": .string(name), "bytes": .number(JSONNumber(size)), "sha256": sha256.map { .string($0) } ?? .null]
    }
    return [
      "name": .string(FileSystem.lastComponent(of: input.path)),
      "layout": .string(input.layout.rawValue),
      "files": .array(files),
      "verified_by": .array(
        sums.verified.map { ["source": .string($0.source), "files": .number(JSONNumber($0.files))] }),
      "not_carried_over": .array(plan.leftBehind.map { .string($0) }),
    ]
  }

  private static func tensors(_ run: ConversionRun, _ check: SelfCheck) -> [JSONValue] {
    run.plan.steps.indices.map { index in
      let step = run.plan.steps[index]
      var entry = JSONObject()
      entry["name"] = .string(step.weight.name)
      entry["operation"] = .string(step.operation.description)
      entry["from"] = .string((step.calibratedFrom ?? step.input).elementType.rawValue)
      entry["to"] = .string(step.weight.elementType.rawValue)
      entry["shape"] = .array(step.weight.shape.dimensions.map { .number(JSONNumber($0)) })
      entry["sha256"] = .string(check.digest.tensors[index].digest)
      if let statistics = run.statistics[index] {
        let decibels = statistics.sqnrDecibels
        entry["sqnr_db"] = decibels.isFinite ? .number(JSONNumber(decibels)) : .null
        entry["rms_error"] = .number(JSONNumber(statistics.rmsError))
        entry["max_error"] = .number(JSONNumber(Double(statistics.largestError)))
        entry["saturated"] = .number(JSONNumber(statistics.saturated))
        entry["zero_rows"] = .number(JSONNumber(statistics.zeroRows))
      }
      return .object(entry)
    }
  }
}

extension ConversionRecord {
  /// What a person wants to read when the command is done.
  public var summary: String {
    let plan = run.plan
    let quantized = run.statistics.compactMap { $0 }
    var lines = ["published   \(plan.outputPath)"]
    lines.append("target      \(plan.options.target)")
    lines.append(
      "size        \(ByteSize(writtenByteCount)) in \(plan.output.files.count) file(s), input \(ByteSize(plan.modelByteCount))"
    )
    if !quantized.isEmpty {
      let worst = quantized.map(\.sqnrDecibels).min() ?? 0
      let all = quantized.dropFirst().reduce(quantized[0]) { $0.merged(with: $1) }
      lines.append(
        "quantized   \(quantized.count) tensors, SQNR \(Self.decibels(all.sqnrDecibels)) (worst tensor \(Self.decibels(worst)))"
      )
    }
    if let types = plan.options.types {
      lines.append("types       \(types.line)")
      lines += types.lines.map { "  " + $0 }
    }
    lines.append(
      "self-check  \(check.provenEqual) tensors proven equal byte by byte, \(check.checkedValues) checked value by value"
    )
    if let verification { lines.append("verified    \(verification.line)") }
    lines.append("digest      \(check.digest.model)")
    lines.append("evidence    " + evidence.map(\.published).joined(separator: ", "))
    return lines.joined(separator: "\n") + "\n"
  }

  private static func decibels(_ value: Double) -> String { "\((value * 10).rounded() / 10) dB" }
}
