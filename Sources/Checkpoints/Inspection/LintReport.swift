public import ByteIO
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors
internal import Tokenizers

/// All that is wrong or odd about a checkpoint, as far as its files alone can tell.
public struct LintReport: Sendable {
  public struct Finding: Sendable, Equatable {
    /// A stable short name.
    public let code: String
    public let isError: Bool
    public let message: String
  }

  public let path: String
  /// Errors first.
  public let findings: [Finding]
  /// Tensors whose values were read.
  public let tensorsRead: Int

  public var hasErrors: Bool { findings.contains(where: \.isError) }

  /// - Parameter readsValues: also read every tensor and look for NaN, infinities and bad scales.
  /// - Throws: `FileFailure` when files are missing or unreadable, `ParseFailure` when not even headers and configuration
  ///   can be read.
  public init(ofCheckpointAt path: String, readsValues: Bool, threads: Int) throws {
    let opened = try LayoutRecognition.open(path)
    var findings = opened.census.problems.map {
      Finding(code: $0.code, isError: $0.severity == .error, message: $0.message)
    }
    let told = Set(opened.census.problems.map(\.message))
    findings += opened.notes.filter { !told.contains($0) }.map { Finding(code: "note", isError: false, message: $0) }
    var read = 0
    if !findings.contains(where: \.isError) {
      do {
        let checkpoint = try opened.checkpoint()
        findings += Self.tokenizerFindings(checkpoint)
        if readsValues {
          findings += try Self.valueFindings(checkpoint, threads: threads)
          read = checkpoint.tensors.count
        }
      } catch let failure as ParseFailure {
        findings.append(Finding(code: "contradiction", isError: true, message: failure.description))
      }
    }
    self.path = path
    self.findings = findings.filter(\.isError) + findings.filter { !$0.isError }
    tensorsRead = read
  }

  private static func tokenizerFindings(_ checkpoint: Checkpoint) -> [Finding] {
    do {
      guard let tokenizer = try checkpoint.tokenizer() else {
        return [Finding(code: "no-tokenizer", isError: false, message: "there is no tokenizer file")]
      }
      guard tokenizer.beginOfText.map(Int.init) == checkpoint.configuration.beginOfTextID else {
        return [
          Finding(
            code: "begin-of-text", isError: false,
            message:
              "the tokenizer's begin-of-text id is \(tokenizer.beginOfText.map(String.init) ?? "none"), config.json says \(checkpoint.configuration.beginOfTextID.map(String.init) ?? "none")"
          )
        ]
      }
      return []
    } catch {
      return [Finding(code: "tokenizer", isError: false, message: "the tokenizer was not read: \(error)")]
    }
  }

  private static func valueFindings(_ checkpoint: Checkpoint, threads: Int) throws -> [Finding] {
    let found = Mutex<[Int: Finding]>([:])
    try Parallel.forEach(count: checkpoint.tensors.count, threads: threads) { index in
      let tensor = checkpoint.tensors[index]
      do {
        try tensor.checkValues()
      } catch let damage as UnreadableRows {
        let finding = Finding(code: "unreadable", isError: true, message: damage.failure.description)
        found.withLock { $0[index] = finding }
      } catch let failure as ParseFailure {
        let code = tensor.quantization == nil ? "non-finite" : "bad-scale-or-code"
        found.withLock { $0[index] = Finding(code: code, isError: true, message: failure.description) }
      }
    }
    return found.withLock { $0 }.sorted { $0.key < $1.key }.map(\.value)
  }

  public var document: JSONValue {
    [
      "schema": "llama-lint/1",
      "path": .string(path),
      "errors": .number(JSONNumber(findings.filter(\.isError).count)),
      "tensors_read": .number(JSONNumber(tensorsRead)),
      "findings": .array(
        findings.map {
          [
            "code": .string($0.code), "severity": .string($0.isError ? "error" : "warning"),
            "message": .string($0.message),
          ]
        }),
    ]
  }

  public var summary: String {
    let lines = findings.map { "\($0.isError ? "error" : "warning")  \($0.code)  \($0.message)" }
    let errors = findings.filter(\.isError).count
    let scope = tensorsRead > 0 ? "\(tensorsRead) tensors read" : "headers only"
    return (lines + ["\(path): \(errors) errors, \(findings.count - errors) warnings, \(scope)"]).joined(
      separator: "\n")
      + "\n"
  }
}

/// Bytes that cannot be read, or that fail a checksum of their file: nothing is known about their values.
private struct UnreadableRows: Error {
  let failure: ParseFailure
}

extension LogicalTensor {
  /// Reads all values.
  /// - Throws: `ParseFailure` naming the stored tensor and the element in it (in the file's row order) for a NaN or
  ///   infinity, a NaN code or a bad scale; `UnreadableRows`.
  fileprivate func checkValues() throws {
    for scales in quantization?.scales.storedTensors ?? [] {
      do {
        _ = try WeightScheme.scales(from: scales.source.bytes(of: scales.tensor.name), type: scales.tensor.elementType)
      } catch let failure as ParseFailure {
        throw failure.about(scales.tensor.name)
      }
    }
    for stored in rows.storedTensors { try stored.checkFinite() }
  }
}

extension StoredRows {
  fileprivate func checkFinite() throws {
    let rows = RowExpression.stored(self)
    guard rowByteCount > 0 else { return }
    let step = max(1, (1 << 20) / rowByteCount)
    for start in stride(from: 0, to: rowCount, by: step) {
      let bytes: [UInt8]
      do { bytes = try rows.bytes(rows: start..<min(start + step, rowCount)) } catch let failure as ParseFailure {
        throw UnreadableRows(failure: failure)
      }
      guard let place = firstNonFinite(bytes.span.rawBytes, at: start * rowByteCount) else { continue }
      throw ParseFailure("\(place) is NaN or infinite", advice: "the weights are damaged").about(tensor.name)
    }
  }

  /// The first value, or scale of a block, that is NaN or infinite among bytes that start at `offset` of the tensor; in
  /// words, nil where all are finite.
  private func firstNonFinite(_ bytes: RawSpan, at offset: Int) -> String? {
    if let block = tensor.elementType.block {
      let format = BlockFormat(block)
      return BlockRows.firstNonFiniteScale(bytes, format: format).map {
        "a scale of block \(offset / format.byteCount + $0)"
      }
    }
    let format = tensor.elementType.floatFormat
    return NumberFormat.firstNonFinite(bytes, format: format).map { "element \(offset / format.byteCount + $0)" }
  }
}

extension ParseFailure {
  fileprivate func about(_ tensor: String) -> ParseFailure {
    var placed = self
    placed.item = tensor
    return placed
  }
}
