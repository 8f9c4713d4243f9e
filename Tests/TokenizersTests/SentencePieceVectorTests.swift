import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

/// Against the sentencepiece library, transformers and tokenizers: `Tests/Interop/sentencepiece_vectors.py`.
@Suite("SentencePiece as the libraries have it")
struct SentencePieceVectorTests {
  @Test("the vectors are there")
  func vectors() { #expect(NamedModel.all.count == 16) }

  @Test("ids", arguments: NamedModel.all)
  func ids(model: NamedModel) throws {
    let texts = try #require(SentencePieceVectors.shared).textBytes
    let tokenizer = try TokenizerFile.tokenizer(model.bytes)
    for (text, ids) in zip(texts, model.vectors.encode) {
      #expect(tokenizer.encode(text) == ids, "\(String(decoding: text, as: UTF8.self).debugDescription)")
    }
  }

  @Test("texts of ids", arguments: NamedModel.all)
  func decoding(model: NamedModel) throws {
    let tokenizer = try TokenizerFile.tokenizer(model.bytes)
    for vector in model.vectors.decode {
      let text = try tokenizer.decode(vector.ids)
      #expect(text == Array(vector.text.utf8), "\(vector.ids)")
    }
  }

  @Test("special ids", arguments: NamedModel.all)
  func special(model: NamedModel) throws {
    let tokenizer = try TokenizerFile.tokenizer(model.bytes)
    let keys = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: model.bytes))
    let ids = [
      tokenizer.beginOfText, tokenizer.endOfText.first, keys.special.padding.map { Int32($0) },
      keys.special.unknown.map { Int32($0) },
    ]
    #expect(ids.map { $0 ?? -1 } == model.vectors.special)
  }

  @Test("all forms mean the same", arguments: NamedModel.all)
  func forms(model: NamedModel) throws {
    let texts = try #require(SentencePieceVectors.shared).textBytes
    let original = try TokenizerFile.tokenizer(model.bytes)
    let keys = try TokenizerKeys(
      sentencePiece: SentencePieceFiles(model: model.bytes), vocabularySize: original.vocabularySize + 3)
    var forms: [any Tokenizer] = [try keys.tokenizer(), try TokenizerFile.tokenizer(try keys.sentencePieceModel())]
    if model.hasJSON {
      forms.append(try TokenizerFile.tokenizer(try keys.tokenizerJSON()))
    } else {
      #expect(throws: ParseFailure.self) { try keys.tokenizerJSON() }
    }
    for form in forms {
      #expect(form.canonicalForm == original.canonicalForm)
      for (text, ids) in zip(texts, model.vectors.encode) { #expect(form.encode(text) == ids) }
      for vector in model.vectors.decode where !vector.ids.contains(0) {
        #expect(try form.decode(vector.ids) == Array(vector.text.utf8))
      }
    }
  }

  /// User-defined pieces are found in text whichever file they come from.
  @Test("keys of keys are the keys", arguments: NamedModel.all)
  func keys(model: NamedModel) throws {
    let keys = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: model.bytes))
    let again = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: try keys.sentencePieceModel()))
    #expect(again == keys)
  }

  @Test("merge rules are those of transformers")
  func mergeRules() throws {
    let model = try Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model"))
    let json = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: model)).tokenizerJSON()
    let rules = try JSONValue(parsing: json)["model"]?["merges"]?.array?.compactMap(\.string) ?? []
    let expected = try #require(SentencePieceVectors.shared).merges
    #expect(rules.count == expected.count)
    #expect(sha256(Array(rules.map { $0 + "\n" }.joined().utf8)) == expected.sha256)
  }

  @Test("tokenizer.json by the tokenizers library", arguments: ["Prepend", "Metaspace"])
  func json(spelling: String) throws {
    let vectors = try #require(SentencePieceVectors.shared)
    let converted = try #require(vectors.json[spelling])
    let tokenizer = try TokenizerFile.tokenizer(Array(converted.file.utf8))
    for (text, ids) in zip(vectors.textBytes, converted.encode) {
      #expect(tokenizer.encode(text) == ids, "\(String(decoding: text, as: UTF8.self).debugDescription)")
    }
    let plain = try #require(NamedModel.all.first { $0.name == "plain" })
    let original = try TokenizerFile.tokenizer(plain.bytes)
    #expect(tokenizer.canonicalForm == original.canonicalForm)
    // As keys it has scores again, which give the ids of the model: Metaspace differs at a space in front.
    let keys = try TokenizerKeys(tokenizerJSON: Array(converted.file.utf8))
    let fromKeys = try keys.tokenizer()
    #expect(fromKeys.canonicalForm == original.canonicalForm)
    for (text, ids) in zip(vectors.textBytes, plain.vectors.encode) { #expect(fromKeys.encode(text) == ids) }
  }

  @Test("keys as llama.cpp's converter fills them")
  func converter() throws {
    let expected = try #require(SentencePieceVectors.shared).keys
    let files = SentencePieceFiles(
      model: [UInt8](try #require(Data(base64Encoded: expected.model))), addedTokens: Array(expected.addedTokens.utf8),
      tokenizerConfig: Array(expected.tokenizerConfig.utf8))
    let keys = try TokenizerKeys(sentencePiece: files, vocabularySize: expected.rows)
    #expect(keys.model == "llama" && keys.pre == "default" && keys.merges.isEmpty)
    #expect(keys.tokens.indices.map { keys.tokens.text(at: $0) } == expected.tokens)
    #expect(keys.scores == expected.scores)
    #expect(keys.types == expected.types)
    #expect(keys.special.beginOfText == expected.special["bos"])
    #expect(keys.special.endOfText == expected.special["eos"])
    #expect(keys.special.unknown == expected.special["unknown"])
    #expect(keys.special.padding == expected.special["padding"])
    #expect(keys.addsBeginOfText == true && keys.addsEndOfText == false)
    #expect(keys.addsSpacePrefix == nil && keys.removesExtraSpaces == nil)
    // And all that is a tokenizer of one meaning.
    let tokenizer = try SentencePieceTokenizer(files, vocabularySize: expected.rows)
    #expect(try keys.tokenizer().canonicalForm == tokenizer.canonicalForm)
    let model = try TokenizerFile.tokenizer(try keys.sentencePieceModel())
    #expect(model.canonicalForm == tokenizer.canonicalForm)
    let text = Array("hello world and two words".utf8)
    #expect(tokenizer.encode(text).count { $0 >= Int32(expected.tokens.count - 7) } == 2)
    #expect(try tokenizer.decode(tokenizer.encode(text)) == text)
  }
}
