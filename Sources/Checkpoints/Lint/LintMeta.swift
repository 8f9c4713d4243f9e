internal import ByteIO
internal import Llama
internal import Tensors
internal import TorchFormat

/// A Meta directory: parameters and shards.
extension LintSubject {
  mutating func openMeta(_ findings: inout [LintFinding]) {
    readParameters(&findings)
    let shardNames = LayoutRecognition.metaShards(names)
    for name in shardNames { open(name, &findings) }
    let count = files.count
    for name in names.sorted() where name.hasPrefix("fp8_scales_") && name.hasSuffix(".pt") { open(name, &findings) }
    // A single safetensors file has no number, and nothing to be compared with.
    let shards = files.prefix(count).filter { $0.source is TorchFile }.map { file in
      MetaShard(
        fileName: file.name,
        entries: file.source.tensors.map {
          Census.Entry(name: $0.name, elementType: $0.elementType, shape: $0.shape)
        },
        checksums: Dictionary(
          file.source.tensors.compactMap { tensor in
            file.source.checksum(of: tensor.name).map { (UTF8Key(tensor.name), $0) }
          }, uniquingKeysWith: { first, _ in first }))
    }
    let problems = MetaShardCheck(shards).problems
    for problem in problems { findings.append(Self.finding(problem)) }
    if problems.isEmpty, !lacksFiles { checkShardCount(shards, &findings) }
  }

  /// Shards of which some are not there, or too many: the heads of one, times their number, are not all.
  private func checkShardCount(_ shards: [MetaShard], _ findings: inout [LintFinding]) {
    guard let parameters, let rows = shards.first?[.layer(0, .query)]?.shape.rows, rows > 0 else { return }
    let total = parameters.headCount * parameters.resolvedHeadDimension
    guard total % rows == 0, total / rows != shards.count else { return }
    findings.append(
      LintFinding(
        .shardCount,
        "\(shards[0].fileName) has \(rows) of \(total) rows of queries: the model has \(total / rows) shards, there are \(shards.count)",
        file: shards[0].fileName, tensor: NamingDialect.meta.name(for: .layer(0, .query)), found: "\(shards.count)",
        expected: "\(total / rows)", remedy: "fetch all shards of one release"))
  }

  private mutating func readParameters(_ findings: inout [LintFinding]) {
    let name = LayoutRecognition.parametersName
    guard names.contains(name) else {
      findings.append(LintFinding(.missingFile, "there is no \(name)", file: name, expected: name))
      return
    }
    let path = directory + "/" + name
    do {
      let bytes = try ReadableFile.contents(of: path, limit: LayoutRecognition.configurationLimit)
      let document = try JSONValue(parsing: bytes)
      self.document = document
      parameters = try MetaParameters(parsing: document)
    } catch {
      let isRoPE = (error as? ParseFailure)?.message.contains("rope") == true
      findings.append(LintFinding(isRoPE ? .ropeUnreadable : .configurationUnreadable, any: error, file: path))
    }
  }

  private static func finding(_ problem: MetaShardProblem) -> LintFinding {
    let code = LintCode(rawValue: problem.code) ?? .contradiction
    var found: String?
    var expected: String?
    switch problem {
    case .differentShape(_, _, let one, _, let other), .wrongShape(_, _, let one, let other):
      (found, expected) = (one.description, other.description)
    case .differentType(_, _, let one, _, let other): (found, expected) = (one.rawValue, other.rawValue)
    case .missingShard(let name, _): expected = name
    default: break
    }
    return LintFinding(
      code, LintFinding(code, problem.failure).message, file: problem.shard, tensor: problem.tensor, found: found,
      expected: expected)
  }

  /// Tensors that every shard has whole must be the same everywhere.
  func checkReplicas(_ scans: [LintValues.Scanned], _ findings: inout [LintFinding]) {
    guard kind == .meta, files.count > 1 else { return }
    var first: [String: LintValues.Scanned] = [:]
    for scanned in scans where scanned.scan != nil {
      guard let role = NamingDialect.meta.role(for: scanned.name), role.isReplicated else { continue }
      guard let other = first[scanned.name] else {
        first[scanned.name] = scanned
        continue
      }
      guard scanned.scan?.checksum != other.scan?.checksum else { continue }
      findings.append(
        LintFinding(
          .replicasDiffer,
          "\(scanned.name) differs between \(other.file) and \(scanned.file), which should hold the same",
          file: scanned.file, tensor: scanned.name, found: "other bytes", expected: "those of \(other.file)"))
    }
  }
}

extension TensorRole {
  /// Norms: every shard has them whole.
  fileprivate var isReplicated: Bool {
    TensorParallelRules(embeddingSplit: .rows).split(of: self) == .replicated
  }
}
