import ByteIO
import Calibration
import Checkpoints
import Llama
import Quantization
import Tensors
import Verification

enum DocumentTargets {
  static func configuration(_ input: [UInt8]) throws {
    let bytes = input.span.rawBytes
    let document: JSONValue
    do throws(ParseFailure) { document = try JSONValue(parsing: bytes) } catch { return }
    for layout in [JSONLayout.compact, .indented] {
      let written = document.serialized(layout)
      try require(try again("JSON is read again", { try JSONValue(parsing: written) }) == document, "JSON is the same")
    }
    try huggingFace(document)
    try meta(document)
    let inner = document["quantization_config"] ?? document
    guard let quantization = try reading({ try QuantizationConfiguration(parsing: inner) }) else { return }
    let second = try again("quantization is read again") {
      try QuantizationConfiguration(parsing: quantization.document)
    }
    let modules = ["lm_head", "model.layers.0.mlp.down_proj", "model.layers.10.self_attn.q_proj"]
    for module in modules {
      try require(
        quantization.scheme(forModule: module) == second.scheme(forModule: module), "a module's scheme is the same")
    }
    _ = quantization.ignoreEntriesMatchingNothing(among: modules)
  }

  private static func huggingFace(_ document: JSONValue) throws {
    guard let configuration = try reading({ try LlamaConfiguration(huggingFace: document) }) else { return }
    let second = try again("config.json is read again") {
      try LlamaConfiguration(huggingFace: configuration.huggingFaceDocument)
    }
    var expected = configuration
    if let type = expected.claimedElementType, ![.bf16, .f16, .f32].contains(type) {
      expected.claimedElementType = nil
    }
    try require(second == expected, "the configuration is the one that was written")
    _ = LlamaFamily(of: configuration)
    let parameters = try again("params.json is read again") {
      try MetaParameters(parsing: MetaParameters.document(for: configuration, shards: 1))
    }
    try require(parameters.hiddenSize == configuration.hiddenSize, "dim")
    try require(parameters.layerCount == configuration.layerCount, "n_layers")
    try require(parameters.resolvedHeadDimension == configuration.headDimension, "head_dim")
    _ = MetaParameters.remarks(for: configuration, shards: 1)
  }

  private static func meta(_ document: JSONValue) throws {
    guard let parameters = try reading({ try MetaParameters(parsing: document) }) else { return }
    try require((2...4096).contains(parameters.resolvedHeadDimension), "a head has 2 to 4096 rows")
    try require(parameters.resolvedFeedForwardSize > 0, "the feed-forward block has rows")
  }

  static func policy(_ input: [UInt8]) throws {
    guard let policy = try reading({ try Policy(parsing: input, file: "policy") }) else { return }
    let second = try again("a policy is read again") {
      try Policy(parsing: Array(policy.canonicalText.utf8), file: "policy")
    }
    try require(second == policy, "the policy is the one that was written")
  }

  static func sensitivity(_ input: [UInt8]) throws {
    let bytes = input.span.rawBytes
    let document: JSONValue
    do throws(ParseFailure) { document = try JSONValue(parsing: bytes) } catch { return }
    guard let table = try reading({ try SensitivityTable(document: document) }) else { return }
    _ = table.summary
    let second = try again("a table is read again") { try SensitivityTable(document: table.document) }
    try require(second == table, "the table is the one that was written")
  }

  static func evidence(_ input: [UInt8]) throws {
    guard let evidence = try reading({ try Evidence(parsing: input) }) else { return }
    let written = evidence.bytes
    let second = try again("evidence is read again") { try Evidence(parsing: written) }
    // Bytes: scores may be NaN, which equals nothing. Facts are spelled anew.
    try require(second.bytes == written, "the evidence is the one that was written")
    try require(evidence.facts != nil || written == input, "the evidence is the one that was read")
    // What is made of it: the report of a whole run, and that of a part which is the only one.
    guard evidence.scores.count < 1024 else { return }
    if let report = try reading({ try VerificationReport(evidence) }) {
      _ = (report.summary, try report.files(scores: evidence.scores))
    }
    guard let part = try reading({ try PartEvidence(evidence, path: "tokens.bin") }),
      let combined = try reading({ try CombinedParts.all([part]) })
    else { return }
    for one in combined { _ = (one.report.summary, try one.report.files(scores: one.scores)) }
  }

  /// Names in lists must not lead out of their directory.
  static func sums(_ input: [UInt8]) throws {
    try withFolder { folder in
      for name in ["SHA256SUMS", "checklist.chk"] { try write(input, to: folder + "/" + name) }
      let names = ["SHA256SUMS", "a.safetensors"]
      guard let sums = try reading({ try ExpectedSums(in: folder, names: names, isSingleFile: false) }) else { return }
      try require(sums.sums.allSatisfy { names.contains($0.fileName) }, "sums are of the files that were asked for")
      try require(
        sums.missing.allSatisfy { !$0.fileName.hasPrefix("/") && !$0.fileName.split(separator: "/").contains("..") },
        "missing files are below the directory")
    }
  }
}
