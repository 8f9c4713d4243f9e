internal import ByteIO
internal import Kernels
internal import Llama
internal import SafetensorsFormat
internal import Synchronization
internal import Tensors

/// Looks at every byte of every tensor that can be read, each file once, in pieces, on several threads.
enum LintValues {
  /// A stored tensor and what was seen in it; nothing where it could not be read, and of scales.
  struct Scanned: Sendable {
    let file: String
    let info: TensorInfo
    let role: TensorRole?
    let scan: TensorScan?

    var name: String { info.name }
  }

  fileprivate struct Job: Sendable {
    let file: String
    let rows: StoredRows
    let isScale: Bool
    let role: TensorRole?
  }

  /// More codes than this share are ±448 only where a scale is too small: a row's own largest value is left out.
  static let saturatedShare = 0.02

  static func scan(_ subject: LintSubject, threads: Int, _ findings: inout [LintFinding]) throws -> [Scanned] {
    let jobs = jobs(subject)
    let found = Mutex<[Int: (scanned: Scanned, findings: [LintFinding])]>([:])
    // The largest first, so that no thread is left alone with one at the end.
    let order = jobs.indices.sorted { (jobs[$1].rows.tensor.byteCount, $0) < (jobs[$0].rows.tensor.byteCount, $1) }
    try Parallel.forEach(count: order.count, threads: threads) { position in
      let job = jobs[order[position]]
      var own: [LintFinding] = []
      var scan: TensorScan?
      do {
        if job.isScale {
          if let bad = try TensorScan.firstBadScale(job.rows) { own.append(badScale(job, bad)) }
        } else {
          scan = try TensorScan(job.rows)
          own += scan.map { look(at: $0, job) } ?? []
        }
      } catch {
        var finding = LintFinding(.unreadableTensor, any: error, file: job.rows.source.place)
        finding.tensor = finding.tensor ?? job.rows.tensor.name
        own.append(finding)
      }
      let scanned = Scanned(file: job.file, info: job.rows.tensor, role: job.role, scan: scan)
      found.withLock { $0[order[position]] = (scanned, own) }
    }
    let results = found.withLock { $0 }
    // In the files' order, whatever the threads did.
    let ordered = jobs.indices.compactMap { results[$0] }
    findings += ordered.flatMap(\.findings)
    for file in subject.files {
      // What no tensor's bytes are checked by.
      do { try file.source.proveIntegrity() } catch {
        let finding = LintFinding(.unreadableTensor, any: error, file: file.source.place)
        if !findings.contains(where: { $0.code == .unreadableTensor && $0.tensor == finding.tensor }) {
          findings.append(finding)
        }
      }
    }
    return ordered.map(\.scanned)
  }

  /// Codes in words, read as a conversion reads them: what contradicts the configuration shows there only.
  static func checkPacked(_ tensors: [LogicalTensor], threads: Int, _ findings: inout [LintFinding]) throws {
    let packed = tensors.filter { $0.rows.storedTensors.first?.source is PackedSource }
    let found = Mutex<[Int: LintFinding]>([:])
    try Parallel.forEach(count: packed.count, threads: threads) { index in
      let tensor = packed[index]
      let step = max(1, (1 << 20) / max(1, tensor.rows.rowByteCount))
      do {
        for start in stride(from: 0, to: tensor.rowCount, by: step) {
          let range = start..<min(start + step, tensor.rowCount)
          _ = try tensor.rows.bytes(rows: range)
        }
      } catch {
        let place = tensor.rows.storedTensors.first?.source.place ?? ""
        found.withLock { $0[index] = LintFinding(.contradiction, any: error, file: place) }
      }
    }
    findings += found.withLock { $0 }.sorted { $0.key < $1.key }.map(\.value)
  }

  private static func jobs(_ subject: LintSubject) -> [Job] {
    var jobs: [Job] = []
    for file in subject.files {
      for info in file.source.tensors where isThere(info, file) {
        jobs.append(
          Job(
            file: file.name, rows: StoredRows(source: file.source, tensor: info),
            isScale: LintQuantization.isScale(info.name) || file.name.hasPrefix("fp8_scales_"),
            role: subject.kind.dialect.role(for: info.name)))
      }
    }
    // Model order: what is told first is what a forward pass meets first.
    let places = jobs.indices.sorted { (jobs[$0].order, $0) < (jobs[$1].order, $1) }
    return places.map { jobs[$0] }
  }

  /// Of a truncated file only what lies before its end.
  private static func isThere(_ info: TensorInfo, _ file: LintSubject.WeightFile) -> Bool {
    guard file.isTruncated, let source = file.source as? SafetensorsFile else { return true }
    guard let start = source.fileOffset(of: info.name) else { return false }
    return start + UInt64(info.byteCount) <= source.byteCount
  }

  private static func badScale(_ job: Job, _ bad: (index: Int, value: Float)) -> LintFinding {
    LintFinding(
      .badScale, "\(job.rows.tensor.name): scale \(bad.index) is \(bad.value); scales are positive and finite",
      file: job.file, tensor: job.rows.tensor.name, found: "\(bad.value) at \(bad.index)", expected: "above 0, finite")
  }

  private static func look(at scan: TensorScan, _ job: Job) -> [LintFinding] {
    let info = job.rows.tensor
    var findings: [LintFinding] = []
    func add(_ code: LintCode, _ message: String, _ found: String, _ expected: String) {
      findings.append(
        LintFinding(
          code, "\(info.name): \(message)", file: job.file, tensor: info.name, found: found, expected: expected))
    }
    if let place = scan.nonFinite {
      let isCode = info.elementType == .f8e4m3
      add(isCode ? .nanCode : .nonFinite, "\(place) is NaN or infinite", "\(place)", "finite values")
      return findings
    }
    guard scan.rowCount > 0 else { return findings }
    if let (index, value) = scan.beyondFloat16, info.elementType == .bf16 || info.elementType == .f32 {
      add(.float16Overflow, "element \(index) is \(value), beyond the range of F16", "\(value)", "at most 65504")
    }
    guard let role = job.role else { return findings }
    if scan.largest == 0 {
      add(.zeroTensor, "all values are zero", "zeros", "values")
      return findings
    }
    guard info.shape.rank > 1 else { return findings }
    if scan.zeroRows > 0 {
      let isVocabulary = role == .tokenEmbedding || role == .outputHead
      add(
        isVocabulary ? .zeroEmbeddingRows : .zeroRows,
        "\(scan.zeroRows) of \(scan.rowCount) rows are all zero, row \(scan.firstZeroRow ?? 0) first",
        "\(scan.zeroRows) rows of zeros", "none")
    }
    if scan.rowsAreEqual { add(.equalRows, "all \(scan.rowCount) rows are the same", "equal rows", "different rows") }
    let elements = info.byteCount
    let expected = Double(scan.rowCount) + saturatedShare * Double(elements)
    if info.elementType == .f8e4m3, Double(scan.saturatedCodes) > expected {
      add(
        .saturation, "\(scan.saturatedCodes) of \(elements) codes are the largest one, ±448",
        "\(scan.saturatedCodes)", "one for each scale")
    }
    return findings
  }
}

extension LintValues.Job {
  /// Model order; tensors that belong to a weight behind it, others at the end.
  fileprivate var order: Int {
    switch role {
    case .tokenEmbedding?: 0
    case .layer(let layer, let part)?: 1 + layer * LayerRole.allCases.count + part.rawValue
    case .outputNorm?: 1 << 32
    case .outputHead?: 1 << 33
    case nil: 1 << 34
    }
  }
}
