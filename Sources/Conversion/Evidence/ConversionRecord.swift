public import ByteIO
internal import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// The record of a conversion: what was made from what, how, and what was proven. It holds no times, hosts or absolute
/// paths, so that equal conversions give equal directories.
public struct ConversionRecord: Sendable {
  static let recordName = "llama-convert.json"
  static let checksumsName = "SHA256SUMS"

  private let run: ConversionRun
  private let check: SelfCheck
  private let verification: Verification?
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
    var record = JSONObject()
    record["schema"] = "llama-convert/1"
    record["tool"] = ["name": .string(Toolkit.name), "version": .string(Toolkit.version)]
    record["options"] = Self.options(run.plan.options)
    record["plan_sha256"] = .string(run.plan.digest)
    record["input"] = try Self.input(run.plan)
    record["output"] = [
      "layout": .string(run.plan.layout.rawValue),
      "model_digest": .string(check.digest.model),
      "configuration_digest": .string(check.digest.configuration),
      "tokenizer_digest": check.digest.tokenizer.map { .string($0) } ?? .null,
    ]
    record["tensors"] = .array(Self.tensors(run, check))
    record["self_check"] = [
      "proven_equal_by_digest": .number(JSONNumber(check.provenEqual)),
      "checked_value_by_value": .number(JSONNumber(check.checkedValues)),
    ]
    if let verification { record["verification"] = verification.entry }
    document = .object(record)
  }

  /// Writes record and checksums into the staging directory and gives it its final name.
  public func publish(replacing: Bool) throws {
    let staging = run.staging
    try FileSystem.write(Array(document.serialized().utf8), toNew: staging.file(Self.recordName))
    let isMeta = run.plan.layout == .meta
    let names = try FileSystem.names(in: staging.path)
    var sums = try Self.checksums(of: names, in: staging.path, threads: run.plan.options.threads) { name in
      isMeta && (name.hasSuffix(".pth") || name.hasSuffix(".pt") || name == "params.json" || name == "tokenizer.model")
    }
    if isMeta {
      let checklist = Checklist(sums.compactMap { file in file.sums.md5.map { .init(name: file.name, md5: $0) } })
      let path = staging.file(Checklist.fileName)
      try FileSystem.write(Array(checklist.text.utf8), toNew: path)
      sums.append((Checklist.fileName, try FileSums(ofFile: path, withMD5: false)))
    }
    let text = sums.map { "\($0.sums.sha256)  \($0.name)\n" }.joined()
    try FileSystem.write(Array(text.utf8), toNew: staging.file(Self.checksumsName))
    try staging.publish(replacing: replacing)
  }

  private static func checksums(
    of names: [String], in directory: String, threads: Int, withMD5: @Sendable (String) -> Bool
  ) throws -> [(name: String, sums: FileSums)] {
    let sums = Mutex<[Int: FileSums]>([:])
    try Parallel.forEach(count: names.count, threads: threads) { index in
      let sum = try FileSums(ofFile: directory + "/" + names[index], withMD5: withMD5(names[index]))
      sums.withLock { $0[index] = sum }
    }
    let found = sums.withLock { $0 }
    return names.indices.compactMap { index in found[index].map { (names[index], $0) } }
  }

  private static func options(_ options: ConversionOptions) -> JSONValue {
    [
      "to": .string(options.target.description),
      "tensor_parallel": options.tensorParallel.map { .number(JSONNumber($0)) } ?? .null,
      "ignore": .array(options.ignore.map { .string($0) }),
      "only": .array(options.only.map { .string($0) }),
      "max_shard_size": .number(JSONNumber(options.maximumShardSize)),
    ]
  }

  private static func input(_ plan: ConversionPlan) throws -> JSONValue {
    let input = plan.input
    let names = input.inputFiles + input.sidecars.map(\.name)
    let checklist = input.checklist
    let found = try checksums(of: names, in: input.path, threads: plan.options.threads) {
      checklist?.md5(of: $0) != nil
    }
    let files = try found.map { name, sums -> JSONValue in
      if let expected = checklist?.md5(of: name), let md5 = sums.md5, md5 != expected {
        throw ParseFailure(
          "the MD5 is \(md5), \(Checklist.fileName) says \(expected)", file: input.path + "/" + name,
          advice: "the file is damaged, or it is another rank's: download it again")
      }
      let size = try ReadableFile(path: input.path + "/" + name).byteCount
      return ["name": .string(name), "bytes": .number(JSONNumber(size)), "sha256": .string(sums.sha256)]
    }
    return [
      "name": .string(FileSystem.lastComponent(of: input.path)),
      "layout": .string(input.layout.rawValue),
      "files": .array(files),
      "not_carried_over": .array(input.leftBehind.map { .string($0) }),
    ]
  }

  private static func tensors(_ run: ConversionRun, _ check: SelfCheck) -> [JSONValue] {
    run.plan.steps.indices.map { index in
      let step = run.plan.steps[index]
      var entry = JSONObject()
      entry["name"] = .string(step.weight.name)
      entry["operation"] = .string(step.operation.description)
      entry["from"] = .string(step.input.elementType.rawValue)
      entry["to"] = .string(step.weight.elementType.rawValue)
      entry["shape"] = .array(step.weight.shape.dimensions.map { .number(JSONNumber($0)) })
      entry["sha256"] = .string(check.digest.tensors[index].digest)
      if let statistics = run.statistics[index] {
        let decibels = statistics.sqnrDecibels
        entry["sqnr_db"] = decibels.isFinite ? .number(JSONNumber(decibels)) : .null
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
      "size        \(ByteSize(plan.outputByteCount)) in \(plan.output.files.count) file(s), input \(ByteSize(plan.inputByteCount))"
    )
    if !quantized.isEmpty {
      let worst = quantized.map(\.sqnrDecibels).min() ?? 0
      let all = quantized.dropFirst().reduce(quantized[0]) { $0.merged(with: $1) }
      lines.append(
        "quantized   \(quantized.count) tensors, SQNR \(Self.decibels(all.sqnrDecibels)) (worst tensor \(Self.decibels(worst)))"
      )
    }
    lines.append(
      "self-check  \(check.provenEqual) tensors proven equal by digest, \(check.checkedValues) checked value by value")
    if let verification { lines.append("verified    \(verification.line)") }
    lines.append("digest      \(check.digest.model)")
    lines.append("evidence    \(Self.recordName), \(Self.checksumsName)")
    return lines.joined(separator: "\n") + "\n"
  }

  private static func decibels(_ value: Double) -> String { "\((value * 10).rounded() / 10) dB" }
}
